//! Which process has a UDP port.
//!
//! `/proc/net/udp` says which socket has a port; the processes' file descriptors say whose it is.

use std::fs;
use std::path::Path;

/// The process that has a UDP socket bound to `port`, if we may look at it.
pub(crate) fn process_of_port(port: u16) -> Option<u32> {
    let sockets: Vec<u64> = ["/proc/net/udp", "/proc/net/udp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| sockets_in(&table, port))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid: &u32| has_socket(*pid, &sockets))
}

fn has_socket(pid: u32, sockets: &[u64]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| socket_in(&target))
        .any(|socket| sockets.contains(&socket))
}

fn socket_in(target: &Path) -> Option<u64> {
    let inside = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    inside.parse().ok()
}

/// The inodes of the sockets bound to `port` in a table of `/proc/net`.
fn sockets_in(table: &str, port: u16) -> Vec<u64> {
    let line = |line: &str| -> Option<u64> {
        let mut fields = line.split_ascii_whitespace();
        let (_, bound) = fields.nth(1)?.rsplit_once(':')?;
        if u16::from_str_radix(bound, 16).ok()? != port {
            return None;
        }
        // The tenth field.
        fields.nth(7)?.parse().ok()
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:1BBD 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 77001 2 0 0
  102: 00000000:1BBE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77002 2 0 0
";

    #[test]
    fn a_socket_is_found_by_its_port() {
        assert_eq!(sockets_in(TABLE, 7101), [77001]);
        assert_eq!(sockets_in(TABLE, 7102), [77002]);
        assert!(sockets_in(TABLE, 7103).is_empty());
    }

    #[test]
    fn a_port_that_this_process_has_bound_is_this_process() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(process_of_port(port), Some(std::process::id()));
    }
}
