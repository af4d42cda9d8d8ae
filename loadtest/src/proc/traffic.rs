//! What went over the loopback interface.
//!
//! The system counts bytes per interface, not per process: whatever else this machine says to itself
//! is in the figure, and so is the load client. It is an upper bound, tight on a quiet machine.

use std::fs;

/// Counts since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes, with the headers of UDP and IP.
    pub(crate) bytes: u64,
    /// Packets, as handed to the interface: with segmentation offload, several datagrams each.
    pub(crate) packets: u64,
}

impl Traffic {
    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
        }
    }
}

/// What went over loopback so far. `None` if the system does not say.
pub(crate) fn loopback() -> Option<Traffic> {
    sent_in(&fs::read_to_string("/proc/net/dev").ok()?, "lo")
}

fn sent_in(table: &str, interface: &str) -> Option<Traffic> {
    let counts = table.lines().find_map(|line| {
        let (name, counts) = line.split_once(':')?;
        (name.trim() == interface).then_some(counts)
    })?;
    // Eight columns of what was received, then what was sent: bytes, packets.
    let mut sent = counts.split_ascii_whitespace().skip(8);
    Some(Traffic {
        bytes: sent.next()?.parse().ok()?,
        packets: sent.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 5000 50 0 0 0 0 0 0 6000 60 0 0 0 0 0 0
  eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
";

    #[test]
    fn traffic_is_what_was_sent() {
        let sent = Traffic {
            bytes: 6000,
            packets: 60,
        };
        assert_eq!(sent_in(TABLE, "lo"), Some(sent));
        assert_eq!(sent_in(TABLE, "eth1"), None);
    }
}
