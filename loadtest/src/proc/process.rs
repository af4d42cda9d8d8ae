//! CPU time and memory of one process.

use std::fs;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second: the kernel's interface fixes it to 100 on every platform
/// that Rust supports, whatever its own tick is. A measurement of five seconds is exact to 0.2 %.
pub(super) const TICKS_PER_SECOND: u64 = 100;

/// CPU time, user and system, of all threads that a process has and had. `None` if it is gone.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    cpu_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process runs: it exists, and is more than an exit code that nobody has asked for.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    is_alive_in(&stat)
}

/// Bytes of memory that are resident now. `None` if the process is gone.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    rss_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Bytes that the process made the disk write so far. `None` if the process is gone.
pub(crate) fn written_bytes(pid: u32) -> Option<u64> {
    written_in(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?)
}

fn cpu_in(stat: &str) -> Option<Duration> {
    // The second field is the program's name, in parentheses, and may hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of the whole, 12th and 13th after the name.
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        user.checked_add(system)?
            .checked_mul(1000 / TICKS_PER_SECOND)?,
    ))
}

fn is_alive_in(stat: &str) -> bool {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn rss_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn written_in(io: &str) -> Option<u64> {
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_program_is_called() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 900 0 3 0 151 49 0 0 20 0 9 0 55 1 2";
        assert_eq!(cpu_in(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_in("4242 (dunlin) S 1"), None);
        assert_eq!(cpu_in(""), None);
    }

    #[test]
    fn a_zombie_does_not_run() {
        assert!(is_alive_in("7 (dunlin) S 1"));
        assert!(is_alive_in("7 (dunlin) T 1"), "stopped is not ended");
        assert!(!is_alive_in("7 (dunlin) Z 1"));
        assert!(!is_alive_in(""));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tdunlin\nVmHWM:\t    9000 kB\nVmRSS:\t    2048 kB\nThreads:\t9\n";
        assert_eq!(rss_in(status), Some(2 << 20));
        assert_eq!(rss_in("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn bytes_written_leave_out_what_only_reached_the_cache() {
        let io =
            "rchar: 1\nwchar: 99\nread_bytes: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(written_in(io), Some(4096));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert!(cpu(std::process::id()).is_some());
        assert_eq!(rss_bytes(u32::MAX), None);
    }
}
