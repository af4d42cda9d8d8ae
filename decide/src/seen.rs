//! What a session has seen: for each partition a clock, the dots that its reads must reflect.
//!
//! ```text
//!   write ── receipt: its dots ──────────────────────> added
//!   read  ── says what was seen <── of its partition
//!         └─ answer: what is seen now ───────────────> in the place of what was said
//! ```
//!
//! The answer to a read says less than it was told when every owner holds the rest for good, so a session
//! remembers what is on its way and not its history. A session that only writes has nobody to tell it so:
//! see [`Seen::is_long`]. Dots are never made up to close gaps, which no node might ever hold; if there is no
//! room, a write is refused before it is sent.
//!
//! The token is all of it as bytes:
//!
//! ```text
//! "dunlin" | version 01 | Q u16 | n u16 | n times: partition u16, length u32, clock | xxh3 of all before, u64
//! ```
//!
//! Numbers are big endian, partitions ascend, clocks have their canonical form.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use dunlin_crdt::Clock;
use dunlin_protocol::Context;
use dunlin_ring::{PartitionCount, PartitionId};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of one partition's clock: a thousand writes between which others wrote. A quarter of what a
/// request may say.
pub const PARTITION_BYTES_MAX: usize = 16 << 10;
/// Bytes of all clocks: 128 for each of 4,096 partitions, which is the clock of eight actors.
pub const SEEN_BYTES_MAX: usize = 512 << 10;
/// The longest token. What is in excess of the clocks is six bytes for a partition, and the frame.
pub const TOKEN_BYTES_MAX: usize = SEEN_BYTES_MAX + 4096 * ENTRY_BYTES + FRAME_BYTES;

/// From here on a read is worth its cost that tells what need not be remembered any more.
const LONG_BYTES: usize = 2 << 10;
/// What a write adds at most: its events are of one actor, in one run.
const WRITE_BYTES: usize = 64;

const MAGIC: &[u8; 6] = b"dunlin";
const VERSION: u8 = 1;
const ENTRY_BYTES: usize = 6;
const HEAD_BYTES: usize = MAGIC.len() + 1 + 2 + 2;
const FRAME_BYTES: usize = HEAD_BYTES + 8;

/// Why bytes are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// They are something else.
    #[error("this is no session token")]
    NoToken,
    /// Of a version that this library does not know.
    #[error("the session token is of version {0}, which is not known here")]
    Version(u8),
    /// They were a token once.
    #[error("the session token is damaged")]
    Damaged,
    /// It is of a cluster with another number of partitions.
    #[error("the session token is of another cluster: it has {is} partitions, not {expected}")]
    OtherCluster {
        /// In the token.
        is: u16,
        /// In the cluster.
        expected: u16,
    },
}

/// A session has seen more than it can remember. Nothing was forgotten: what led to this was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the session remembers {bytes} bytes of what is not at every owner yet; read in it, or begin another one"
)]
pub struct SessionFull {
    /// How much it remembers.
    pub bytes: usize,
}

/// What a session has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    partitions: PartitionCount,
    /// Invariant: none is empty.
    clocks: BTreeMap<PartitionId, Context>,
    /// Invariant: of all clocks.
    bytes: usize,
}

impl Seen {
    /// Nothing, in a cluster of so many partitions.
    #[must_use]
    pub fn new(partitions: PartitionCount) -> Self {
        Self {
            partitions,
            clocks: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The partitions of its cluster.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// What a read in this partition says that it must reflect.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> Context {
        self.clocks.get(&partition).cloned().unwrap_or_default()
    }

    /// Whether a read in this partition should be made before the next write, to forget some.
    #[must_use]
    pub fn is_long(&self, partition: PartitionId) -> bool {
        let of_partition = self.bytes_of(partition);
        of_partition > LONG_BYTES || (of_partition > 0 && self.bytes > SEEN_BYTES_MAX / 2)
    }

    /// Whether there is room for a write in this partition.
    ///
    /// # Errors
    /// [`SessionFull`]; then don't send it.
    pub fn check_room(&self, partition: PartitionId) -> Result<(), SessionFull> {
        let of_partition = self.bytes_of(partition) + WRITE_BYTES;
        let bytes = self.bytes + WRITE_BYTES;
        if of_partition > PARTITION_BYTES_MAX || bytes > SEEN_BYTES_MAX {
            return Err(SessionFull { bytes: self.bytes });
        }
        Ok(())
    }

    /// A write was acknowledged, with the context of its receipt.
    ///
    /// # Errors
    /// [`TokenError::Damaged`] if that is no context.
    pub fn wrote(&mut self, partition: PartitionId, receipt: &Context) -> Result<(), TokenError> {
        let mut clock = self.clock(partition)?;
        clock.join(&receipt.clock().map_err(|_| TokenError::Damaged)?);
        self.put(partition, &clock);
        Ok(())
    }

    /// A read that said this was answered, with what is seen now.
    ///
    /// # Errors
    /// [`ReadError`]; then the session does not know what was read, so the answer must not be shown.
    pub fn read(
        &mut self,
        partition: PartitionId,
        said: &Context,
        now: &Context,
    ) -> Result<(), ReadError> {
        if said == now {
            return Ok(());
        }
        let decoded = |context: &Context| context.clock().map_err(|_| TokenError::Damaged);
        // What came to it meanwhile, by other requests, stays.
        let mut clock = self.clock(partition)?.minus(&decoded(said)?);
        clock.join(&decoded(now)?);
        let before = self.bytes_of(partition);
        let after = Context::of(&clock).as_bytes().len();
        let grows = after > before;
        let bytes = self.bytes - before + after;
        if grows && (after > PARTITION_BYTES_MAX || bytes > SEEN_BYTES_MAX) {
            return Err(SessionFull { bytes: self.bytes }.into());
        }
        self.put(partition, &clock);
        Ok(())
    }

    /// Adds what another session has seen.
    ///
    /// # Errors
    /// [`TokenError::OtherCluster`].
    pub fn join(&mut self, other: &Self) -> Result<(), TokenError> {
        other.check_cluster(self.partitions)?;
        for (partition, clock) in &other.clocks {
            self.wrote(*partition, clock)?;
        }
        Ok(())
    }

    /// Whether it is of a cluster with so many partitions.
    ///
    /// # Errors
    /// [`TokenError::OtherCluster`].
    pub fn check_cluster(&self, expected: PartitionCount) -> Result<(), TokenError> {
        match (self.partitions.get(), expected.get()) {
            (is, expected) if is != expected => Err(TokenError::OtherCluster { is, expected }),
            _ => Ok(()),
        }
    }

    /// The token.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let entries = self.clocks.len() * ENTRY_BYTES;
        let mut token = Vec::with_capacity(FRAME_BYTES + entries + self.bytes);
        token.extend_from_slice(MAGIC);
        token.push(VERSION);
        token.extend_from_slice(&self.partitions.get().to_be_bytes());
        // At most 4,096.
        token.extend_from_slice(&(self.clocks.len() as u16).to_be_bytes());
        for (partition, clock) in &self.clocks {
            token.extend_from_slice(&partition.0.to_be_bytes());
            token.extend_from_slice(&(clock.as_bytes().len() as u32).to_be_bytes());
            token.extend_from_slice(clock.as_bytes());
        }
        token.extend_from_slice(&xxh3_64(&token).to_be_bytes());
        token.into()
    }

    /// From a token.
    ///
    /// # Errors
    /// [`TokenError`] for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(token: &Bytes) -> Result<Self, TokenError> {
        let Some(rest) = token.strip_prefix(MAGIC) else {
            return Err(TokenError::NoToken);
        };
        match rest.first() {
            Some(&VERSION) => {}
            Some(version) => return Err(TokenError::Version(*version)),
            None => return Err(TokenError::Damaged),
        }
        if token.len() < FRAME_BYTES || token.len() > 2 * TOKEN_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        let mut rest = token.clone();
        let mut sum = rest.split_off(token.len() - 8);
        if xxh3_64(&rest) != sum.get_u64() {
            return Err(TokenError::Damaged);
        }
        rest.advance(MAGIC.len() + 1);
        let partitions = PartitionCount::new(rest.get_u16()).map_err(|_| TokenError::Damaged)?;
        let mut seen = Self::new(partitions);
        for _ in 0..rest.get_u16() {
            if rest.len() < ENTRY_BYTES {
                return Err(TokenError::Damaged);
            }
            let partition = PartitionId(rest.get_u16());
            let length = rest.get_u32() as usize;
            let ascends = seen
                .clocks
                .last_key_value()
                .is_none_or(|(p, _)| *p < partition);
            if rest.len() < length || partition.0 >= partitions.get() || !ascends {
                return Err(TokenError::Damaged);
            }
            let clock = Context::from_bytes(rest.split_to(length)).clock();
            let clock = clock.map_err(|_| TokenError::Damaged)?;
            if clock.is_empty() {
                return Err(TokenError::Damaged);
            }
            seen.put(partition, &clock);
        }
        match rest.is_empty() {
            true => Ok(seen),
            false => Err(TokenError::Damaged),
        }
    }

    fn clock(&self, partition: PartitionId) -> Result<Clock, TokenError> {
        self.of(partition).clock().map_err(|_| TokenError::Damaged)
    }

    fn bytes_of(&self, partition: PartitionId) -> usize {
        let clock = self.clocks.get(&partition);
        clock.map_or(0, |clock| clock.as_bytes().len())
    }

    fn put(&mut self, partition: PartitionId, clock: &Clock) {
        self.bytes -= self.bytes_of(partition);
        if clock.is_empty() {
            self.clocks.remove(&partition);
            return;
        }
        let clock = Context::of(clock);
        self.bytes += clock.as_bytes().len();
        self.clocks.insert(partition, clock);
    }
}

/// Why the answer to a read is not known to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no room.
    #[error(transparent)]
    Full(#[from] SessionFull),
    /// The answer is none.
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[cfg(test)]
mod tests {
    use dunlin_crdt::{ActorId, Dot};

    use super::*;

    const P: PartitionId = PartitionId(7);

    fn seen() -> Seen {
        Seen::new(PartitionCount::new(16).unwrap())
    }

    fn dots(counters: impl IntoIterator<Item = u64>) -> Context {
        let dots = counters.into_iter().map(|n| Dot::new(ActorId(9), n));
        Context::of(&dots.collect())
    }

    #[test]
    fn what_was_written_is_said_by_every_later_read_of_the_partition() {
        let mut seen = seen();
        seen.wrote(P, &dots([3])).unwrap();
        seen.wrote(P, &dots([5])).unwrap();
        assert_eq!(seen.of(P), dots([3, 5]));
        assert_eq!(seen.of(PartitionId(8)), Context::default());
    }

    #[test]
    fn an_answer_takes_the_place_of_what_was_said_and_of_nothing_else() {
        let mut seen = seen();
        seen.wrote(P, &dots([1, 2])).unwrap();
        let said = seen.of(P);
        // While the read is on its way.
        seen.wrote(P, &dots([9])).unwrap();
        seen.read(P, &said, &dots([2, 4])).unwrap();
        assert_eq!(seen.of(P), dots([2, 4, 9]));
    }

    #[test]
    fn a_session_whose_writes_have_settled_remembers_nothing() {
        let mut seen = seen();
        seen.wrote(P, &dots([1])).unwrap();
        let said = seen.of(P);
        seen.read(P, &said, &Context::default()).unwrap();
        let nothing = Seen::new(seen.partitions());
        assert_eq!(seen, nothing);
    }

    #[test]
    fn a_token_is_read_as_what_it_was() {
        let mut seen = seen();
        seen.wrote(P, &dots([1, 3])).unwrap();
        seen.wrote(PartitionId(0), &dots([8])).unwrap();
        assert_eq!(Seen::decode(&seen.encode()), Ok(seen));
    }

    #[test]
    fn a_token_with_any_byte_changed_or_missing_is_refused() {
        let mut seen = seen();
        seen.wrote(P, &dots([1, 3])).unwrap();
        let token = seen.encode();
        for at in 0..token.len() {
            let mut changed = token.to_vec();
            changed[at] ^= 4;
            assert!(Seen::decode(&changed.into()).is_err(), "byte {at}");
            assert!(Seen::decode(&token.slice(..at)).is_err(), "first {at}");
        }
    }

    #[test]
    fn garbage_newer_versions_and_other_clusters_are_told_apart() {
        let garbage = Bytes::from_static(b"not a token at all");
        assert_eq!(Seen::decode(&garbage), Err(TokenError::NoToken));
        let newer = Bytes::from_static(b"dunlin\x02whatever comes then");
        assert_eq!(Seen::decode(&newer), Err(TokenError::Version(2)));
        let other = PartitionCount::new(32).unwrap();
        let (is, expected) = (16, 32);
        assert_eq!(
            seen().check_cluster(other),
            Err(TokenError::OtherCluster { is, expected })
        );
    }

    #[test]
    fn a_session_that_only_writes_is_refused_before_its_token_is_too_long() {
        let mut seen = seen();
        let mut written = 0;
        while seen.check_room(P).is_ok() {
            written += 1;
            // Others write between.
            seen.wrote(P, &dots([2 * written])).unwrap();
        }
        assert!(seen.is_long(P));
        assert!(written > 1_000, "{written}");
        assert!(seen.encode().len() <= TOKEN_BYTES_MAX);
        // A read makes room.
        let said = seen.of(P);
        seen.read(P, &said, &dots([2 * written])).unwrap();
        assert!(seen.check_room(P).is_ok());
    }

    #[test]
    fn an_answer_that_says_too_much_is_not_taken() {
        let mut seen = seen();
        let much = dots((0..20_000).map(|n| 2 + 2 * n));
        let refused = seen.read(P, &Context::default(), &much);
        assert!(matches!(refused, Err(ReadError::Full(_))), "{refused:?}");
        assert_eq!(seen.of(P), Context::default());
    }
}
