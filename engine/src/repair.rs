//! Anti-entropy: co-owners compare clocks, and pull what theirs lack.
//!
//! ```text
//!   every second, to each co-owner:  Digests { partition, hash of clock }   not again while known equal
//!   on a hash that differs:          Pull { my clock }        -> Rows, a page of what it lacks
//!                                    again while there is more
//!   where the log is too short:      Whole, page after page of all rows, see `transfer`
//! ```
//!
//! A digest leaves when the clock that it is of is on the sender's disk: what an owner says so it does not lose with the
//! power, and sessions forget what all owners have said.
//!
//! The side that lacks something pulls, a page at a time, so the sender keeps no state and the puller's
//! budget paces it. Usually a pull asks for `Settled` events only, those the sender held a round ago,
//! because newer ones are still on their way by replication. A partition that has yet to be filled asks
//! for `Everything`, and counts once it has pulled from every source.
//!
//! Source: *DottedDB* (SRDS 2017), section 5; the log in place of its node-wide key log.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{ClockDigest, PeerBody, RepairMessage, RepairRow, Want};
use dunlin_protocol::status::StorageState;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::{Horizon, Missing, Replica, StoreError};

use crate::io::{Effect, Note, Now, TimerId};
use crate::shard::{Shard, Waiting};
use crate::transfer::WholePage;

/// A page that has not come after this many rounds was lost.
const PULL_ROUNDS_MAX: u64 = 5;
/// Every so many rounds digests are sent even where clocks are known to be equal: a co-owner that lost
/// its state without losing its link would not be noticed otherwise.
const FULL_ROUND_EVERY: u64 = 60;
/// Log entries and waiting rows of one partition that one round tidies.
const TIDY_MAX: usize = 2048;

/// What one shard knows of its co-owners' clocks, and the pulls in progress.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    partitions: BTreeMap<PartitionId, Compared>,
    wanted: BTreeSet<(PartitionId, NodeId)>,
    pub(crate) pulls: BTreeMap<PartitionId, Pull>,
    /// Partitions whose transfer is not taken up again, but abandoned slice by slice.
    pub(crate) abandoning: BTreeSet<PartitionId>,
    /// Pulls that came to their end in this round. Events that are still on their way would have two
    /// co-owners pull from each other as fast as the network goes, so there is one a round.
    pulled: BTreeSet<(PartitionId, NodeId)>,
    round: u64,
    /// What is to be said of clocks next.
    to_say: Digests,
    /// Whether what was to be said before waits for the disk.
    is_saying: bool,
    /// Bytes that may be pulled now.
    budget: u64,
    waiting_for_budget: bool,
}

/// One partition against its co-owners.
#[derive(Debug, Default)]
struct Compared {
    /// The hash at which a co-owner's clock was last known to equal this node's.
    equal_at: BTreeMap<NodeId, u64>,
    /// The round in which a co-owner was last told that the clocks are equal.
    answered_in: BTreeMap<NodeId, u64>,
    /// Co-owners from which everything has been pulled since the partition stopped counting for reads.
    pulled_from: BTreeSet<NodeId>,
    /// The hash of this node's clock, while it is that of `clock`.
    hash: Option<(Clock, u64)>,
}

/// A pull in progress.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) from: NodeId,
    everything: bool,
    /// Whether it counts as having pulled everything, once it has come to its end.
    pub(crate) counts: bool,
    /// The clock of the first page of a whole transfer, and where the next page starts.
    pub(crate) whole: Option<(Clock, Option<RowKey>)>,
    asked_in_round: u64,
    /// Whether the next page was asked for; if not, it waits for the budget.
    pub(crate) asked: bool,
}

/// The hashes of clocks that each co-owner is told.
type Digests = BTreeMap<NodeId, BTreeMap<PartitionId, u64>>;

/// What a node says of its clocks as they were at one moment, and those that were not known to be on its disk then.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    digests: Digests,
    clocks: Vec<(PartitionId, Clock)>,
}

impl Repair {
    pub(crate) fn new(replica: &Replica) -> Self {
        let partitions = replica.owned().map(|p| (p, Compared::default())).collect();
        Self {
            partitions,
            ..Self::default()
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pulls.is_empty() && self.wanted.is_empty()
    }

    /// How many pulls wait for their turn.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// A co-owner is known to hold something that this node lacks.
    pub(crate) fn want(&mut self, partition: PartitionId, from: NodeId) {
        self.wanted.insert((partition, from));
    }

    pub(crate) fn peer_is_back(&mut self, node: NodeId) {
        for compared in self.partitions.values_mut() {
            compared.equal_at.remove(&node);
        }
        self.pulls.retain(|_, pull| pull.from != node);
    }

    /// What is known of one partition is void: its clock begins anew.
    pub(crate) fn forget_partition(&mut self, partition: PartitionId) {
        self.partitions.insert(partition, Compared::default());
        self.pulls.remove(&partition);
        self.abandoning.remove(&partition);
        self.wanted.retain(|(wanted, _)| *wanted != partition);
    }

    /// What was pulled and compared so far does not count: everything is to be pulled again.
    pub(crate) fn forget_pulls_from(&mut self, is_gone: impl Fn(PartitionId, NodeId) -> bool) {
        self.wanted.retain(|(p, from)| !is_gone(*p, *from));
        self.pulls.retain(|p, pull| !is_gone(*p, pull.from));
    }

    pub(crate) fn forget_pulls(&mut self, partition: PartitionId) {
        if let Some(compared) = self.partitions.get_mut(&partition) {
            compared.pulled_from.clear();
            compared.equal_at.clear();
        }
        if let Some(pull) = self.pulls.get_mut(&partition) {
            pull.counts = false;
        }
    }

    /// Everything known is void: clocks went back to what the disk holds.
    pub(crate) fn forget(&mut self) {
        for compared in self.partitions.values_mut() {
            *compared = Compared::default();
        }
        self.pulls.clear();
        self.abandoning.clear();
        self.wanted.clear();
        self.to_say.clear();
        self.is_saying = false;
    }

    fn will_say(&mut self, to: NodeId, partition: PartitionId, hash: u64) {
        let to = self.to_say.entry(to).or_default();
        to.insert(partition, hash);
    }

    pub(crate) fn hash(&mut self, partition: PartitionId, clock: &Clock) -> u64 {
        let compared = self.partitions.entry(partition).or_default();
        match &compared.hash {
            Some((of, hash)) if of == clock => *hash,
            _ => {
                let hash = xxhash_rust::xxh3::xxh3_64(&clock.encode());
                compared.hash = Some((clock.clone(), hash));
                hash
            }
        }
    }

    fn is_equal(&self, partition: PartitionId, node: NodeId, hash: u64) -> bool {
        let compared = self.partitions.get(&partition);
        compared.and_then(|compared| compared.equal_at.get(&node)) == Some(&hash)
    }
}

impl Shard {
    /// Pairs of partition and co-owner whose clocks are not known to be equal.
    pub(crate) fn clocks_behind(&self) -> u64 {
        let mut behind = 0;
        for partition in self.replica.owned().filter(|p| self.is_owner_here(*p)) {
            let compared = self.repair.partitions.get(&partition);
            let clock = self.replica.clock(partition);
            let hash = compared
                .and_then(|c| c.hash.as_ref())
                .filter(|(of, _)| of == clock);
            for node in self.view.co_owners(partition) {
                let equal = hash.is_some_and(|(_, h)| self.repair.is_equal(partition, node, *h));
                behind += u64::from(!equal);
            }
        }
        behind
    }

    /// Once a round: offer hashes, give up pulls that were lost, tidy what all co-owners have.
    pub(crate) fn repair_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.repair.round += 1;
        self.repair.pulled.clear();
        let round = self.repair.round;
        self.repair
            .pulls
            .retain(|_, pull| round - pull.asked_in_round < PULL_ROUNDS_MAX);
        let busy = self.read_latency_us > self.options.hedge_after_max_ms * 1000;
        let share = self.options.repair_bytes_per_second * self.options.repair_every_ms / 1000;
        let share = if busy { share / 4 } else { share };
        // However little is allowed, what is lacking comes in the end.
        self.repair.budget = share.max(self.options.repair_page_bytes as u64);

        let owned: Vec<PartitionId> = self.replica.owned().collect();
        for partition in owned {
            if !self.is_owner_here(partition) {
                continue;
            }
            let co_owners = self.view.co_owners(partition);
            let hash = self.repair.hash(partition, self.replica.clock(partition));
            for node in &co_owners {
                let known = self.repair.is_equal(partition, *node, hash);
                if self.view.is_reachable(*node)
                    && (!known || round.is_multiple_of(FULL_ROUND_EVERY))
                {
                    self.repair.will_say(*node, partition, hash);
                }
            }
            if self.is_unfilled(partition) {
                // A source may have been given up, or there is none.
                self.check_filled(partition, effects);
            }
            if self.storage == StorageState::Ready {
                self.tidy(partition, &co_owners, effects);
            }
        }
        self.say_what_is_synced();
        self.replica.settle();
        self.pull_more(now, effects);
        self.handover_round(now, effects);
        self.gain(effects);
        self.tell_follows(effects);
        let at = now.time.plus_ms(self.options.repair_every_ms);
        effects.push(Effect::SetTimer {
            id: TimerId::Repair,
            at,
        });
    }

    /// Forgets what is no longer needed: log entries that every co-owner has, and the past of rows that
    /// the clock has caught up with.
    fn tidy(&mut self, partition: PartitionId, co_owners: &[NodeId], effects: &mut Vec<Effect>) {
        let stripped = self.replica.strip_pending(partition, TIDY_MAX).map(|_| ());
        let pruned = self
            .replica
            .prune(partition, co_owners, TIDY_MAX)
            .map(|_| ());
        let ended = self.tidy_transfer(partition);
        if let Err(error) = stripped.and(pruned).and(ended) {
            self.note_store_error(&error, effects);
        }
    }

    pub(crate) fn compare_digests(
        &mut self,
        from: NodeId,
        entries: &[ClockDigest],
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let round = self.repair.round;
        for entry in entries {
            let ClockDigest { partition, hash } = *entry;
            if !self.is_owner_here(partition) {
                continue;
            }
            let clock = self.replica.clock(partition).clone();
            if self.repair.hash(partition, &clock) != hash {
                self.repair.wanted.insert((partition, from));
            } else {
                let news = self.note_equal(partition, from, hash, &clock, effects);
                // The co-owner may have been started anew, and not know what is no news here. Once a
                // round is enough, and so this ends.
                let compared = self.repair.partitions.entry(partition).or_default();
                let again = compared.answered_in.insert(from, round) != Some(round);
                if news || again {
                    self.repair.will_say(from, partition, hash);
                }
            }
        }
        self.say_what_is_synced();
        self.pull_more(now, effects);
    }

    /// What is to be said of clocks leaves once they are on the disk: the others count on it. One thing at a time,
    /// for a disk may stall.
    fn say_what_is_synced(&mut self) {
        if self.repair.is_saying {
            return;
        }
        let digests = std::mem::take(&mut self.repair.to_say);
        let clocks = self.replica.clocks_not_known_synced();
        if digests.is_empty() && clocks.is_empty() {
            return;
        }
        self.repair.is_saying = true;
        let said = Box::new(Said { digests, clocks });
        self.commits.wait_patiently(Waiting::Say(said));
    }

    pub(crate) fn say(&mut self, said: Said, effects: &mut Vec<Effect>) {
        self.repair.is_saying = false;
        for (partition, clock) in said.clocks {
            self.replica.note_synced(partition, clock);
        }
        for (to, hashes) in said.digests {
            let digest = |(partition, hash)| ClockDigest { partition, hash };
            let body = PeerBody::Digests(hashes.into_iter().map(digest).collect());
            effects.push(Effect::Send { to, body });
        }
        if !self.repair.to_say.is_empty() {
            self.say_what_is_synced();
        }
    }

    /// Returns whether that was not known.
    fn note_equal(
        &mut self,
        partition: PartitionId,
        node: NodeId,
        hash: u64,
        clock: &Clock,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let compared = self.repair.partitions.entry(partition).or_default();
        let news = compared.equal_at.insert(node, hash) != Some(hash);
        if !self.view.gains(partition) {
            compared.pulled_from.insert(node);
            self.repair.wanted.remove(&(partition, node));
        }
        self.replica.note_peer_synced(partition, node, clock);
        self.check_filled(partition, effects);
        news
    }

    /// A partition counts once everything was pulled from every source.
    fn check_filled(&mut self, partition: PartitionId, effects: &mut Vec<Effect>) {
        if !self.is_unfilled(partition) || !self.may_fill(partition) {
            return;
        }
        let sources = self.view.sources(partition);
        let compared = self.repair.partitions.entry(partition).or_default();
        let missing: Vec<NodeId> = sources
            .into_iter()
            .filter(|node| !compared.pulled_from.contains(node))
            .collect();
        if !missing.is_empty() {
            if self.view.gains(partition) {
                // Equal clocks prove nothing: the message that said so may be older than the layout.
                let missing = missing.into_iter().map(|node| (partition, node));
                self.repair.wanted.extend(missing);
            }
            return;
        }
        let compared = self.repair.partitions.entry(partition).or_default();
        compared.pulled_from.clear();
        if !self.replica.is_whole(partition) {
            self.replica.mark_whole(partition);
            effects.push(Effect::Note(Note::Refilled { partition }));
            if self.replica.owned().all(|p| self.replica.is_whole(p)) {
                effects.push(Effect::Note(Note::AllRefilled));
            }
        }
        self.is_filled(partition);
    }

    /// Has everything pulled from every source of a partition that this node holds and does not own.
    pub(crate) fn refill(&mut self, partition: PartitionId, now: Now, effects: &mut Vec<Effect>) {
        if self.storage != StorageState::Ready {
            return;
        }
        // A transfer that is not taken up again stands in the way of the next.
        if let Err(error) = self.tidy_transfer(partition) {
            return self.note_store_error(&error, effects);
        }
        self.check_filled(partition, effects);
        if !self.is_unfilled(partition) {
            return;
        }
        let compared = self.repair.partitions.entry(partition).or_default();
        let mut missing = self.view.sources(partition);
        missing.retain(|node| !compared.pulled_from.contains(node));
        let missing = missing.into_iter().map(|node| (partition, node));
        self.repair.wanted.extend(missing);
        self.pull_more(now, effects);
    }

    /// Starts pulls as far as their number and the budget allow.
    pub(crate) fn pull_more(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.storage != StorageState::Ready {
            return;
        }
        let round = self.repair.round;
        let held_back: Vec<PartitionId> = self
            .repair
            .pulls
            .iter()
            .filter(|(_, pull)| !pull.asked)
            .map(|(p, _)| *p)
            .collect();
        for partition in held_back {
            self.ask_page(partition, now, effects);
        }
        let wanted: Vec<(PartitionId, NodeId)> = self.repair.wanted.iter().copied().collect();
        for (partition, from) in wanted {
            if self.repair.pulls.len() >= self.options.repairs_max {
                break;
            }
            if self.repair.pulls.contains_key(&partition)
                || self.repair.abandoning.contains(&partition)
                || self.repair.pulled.contains(&(partition, from))
            {
                continue;
            }
            self.repair.wanted.remove(&(partition, from));
            if !self.view.is_reachable(from) {
                continue;
            }
            let everything = self.is_unfilled(partition);
            let resumed = self.resumed_transfer(partition);
            let pull = Pull {
                from,
                everything,
                // What a transfer brought before it was interrupted proves nothing about now.
                counts: everything && resumed.is_none(),
                whole: resumed,
                asked_in_round: round,
                asked: false,
            };
            self.repair.pulls.insert(partition, pull);
            self.ask_page(partition, now, effects);
        }
    }

    /// Asks for the next page of a pull, unless the budget of this round is used up.
    pub(crate) fn ask_page(&mut self, partition: PartitionId, now: Now, effects: &mut Vec<Effect>) {
        let page = self.options.repair_page_bytes as u64;
        if self.repair.budget < page {
            if !self.repair.waiting_for_budget {
                self.repair.waiting_for_budget = true;
                let at = now.time.plus_ms(self.options.repair_every_ms);
                effects.push(Effect::SetTimer {
                    id: TimerId::RepairBudget,
                    at,
                });
            }
            return;
        }
        self.repair.waiting_for_budget = false;
        let round = self.repair.round;
        let Some(pull) = self.repair.pulls.get_mut(&partition) else {
            return;
        };
        pull.asked = true;
        pull.asked_in_round = round;
        let want = match (&pull.whole, pull.everything) {
            (Some((_, Some(after))), _) => Want::WholeAfter(after.clone()),
            (_, true) => Want::Everything,
            (_, false) => Want::Settled,
        };
        let clock = self.replica.clock(partition).clone();
        let message = RepairMessage::Pull { clock, want };
        let body = PeerBody::Repair { partition, message };
        effects.push(Effect::Send {
            to: pull.from,
            body,
        });
    }

    pub(crate) fn repair_message(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        message: RepairMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.replica.owns(partition) {
            return;
        }
        let done = match message {
            RepairMessage::Pull { clock, want } => {
                self.send_page(from, partition, &clock, &want, now, effects)
            }
            RepairMessage::Rows { rows, clock, more } => {
                self.take_page(from, partition, &rows, &clock, more, now, effects)
            }
            RepairMessage::Offer { clock } => {
                self.offered(from, partition, clock, now, effects);
                Ok(())
            }
            RepairMessage::Scrubbed { clock, content } => {
                self.scrubbed(from, partition, clock, content, now, effects);
                Ok(())
            }
            RepairMessage::Fetch { keys } => {
                self.fetch(from, partition, &keys, effects);
                Ok(())
            }
            RepairMessage::Fetched { rows, clock } => self.fetched(partition, &rows, &clock),
            RepairMessage::Held { clock } => {
                self.held_by(from, partition, clock, now, effects);
                Ok(())
            }
            RepairMessage::Whole {
                after,
                rows,
                clock,
                next,
            } => {
                let page = WholePage {
                    after,
                    rows,
                    clock,
                    next,
                };
                self.take_whole_page(from, partition, page, now, effects)
            }
        };
        if let Err(error) = done {
            self.repair.pulls.remove(&partition);
            self.note_store_error(&error, effects);
        }
    }

    fn send_page(
        &mut self,
        to: NodeId,
        partition: PartitionId,
        theirs: &Clock,
        want: &Want,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        self.replica.note_peer_clock(partition, to, theirs);
        if !theirs.is_subset(self.replica.clock(partition)) {
            self.repair.wanted.insert((partition, to));
            self.pull_more(now, effects);
        }
        let bytes_max = self.options.repair_page_bytes;
        let horizon = match want {
            Want::Settled => Some(Horizon::Settled),
            Want::Everything => Some(Horizon::Everything),
            Want::WholeAfter(_) => None,
        };
        let missing = match horizon {
            Some(horizon) => self
                .replica
                .missing(partition, theirs, horizon, bytes_max)?,
            None => Missing::LogTooShort,
        };
        let message = match missing {
            Missing::Rows { rows, clock, more } => {
                self.counters
                    .add_many("repair_rows_sent", rows.len() as u64);
                RepairMessage::Rows { rows, clock, more }
            }
            Missing::LogTooShort => {
                let after = match want {
                    Want::WholeAfter(after) => Some(after.clone()),
                    Want::Settled | Want::Everything => None,
                };
                let (rows, clock, next) =
                    self.replica
                        .whole_page(partition, after.as_ref(), bytes_max)?;
                self.counters
                    .add_many("repair_rows_sent", rows.len() as u64);
                RepairMessage::Whole {
                    after,
                    rows,
                    clock,
                    next,
                }
            }
        };
        effects.push(Effect::Send {
            to,
            body: PeerBody::Repair { partition, message },
        });
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn take_page(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        rows: &[RepairRow],
        clock: &Clock,
        more: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        self.spend(rows.iter().map(|r| &r.row));
        self.replica.take_rows(partition, rows, clock)?;
        self.replica.note_peer_clock(partition, from, clock);
        self.note_rows(partition, rows.iter().map(|row| &row.key));
        self.note_lww_losers(partition, rows.iter().map(|row| &row.key), effects);
        let Some(pull) = self
            .repair
            .pulls
            .get_mut(&partition)
            .filter(|pull| pull.from == from)
        else {
            return Ok(());
        };
        pull.asked = false;
        pull.whole = None;
        if more {
            self.ask_page(partition, now, effects);
        } else {
            let counts = pull.counts;
            self.pull_is_over(partition, from, counts, now, effects);
        }
        Ok(())
    }

    pub(crate) fn pull_is_over(
        &mut self,
        partition: PartitionId,
        from: NodeId,
        counts: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.repair.pulls.remove(&partition);
        self.repair.pulled.insert((partition, from));
        if counts {
            let compared = self.repair.partitions.entry(partition).or_default();
            compared.pulled_from.insert(from);
            self.check_filled(partition, effects);
        }
        let co_owners = self.view.co_owners(partition);
        self.tidy(partition, &co_owners, effects);
        self.pull_more(now, effects);
    }

    pub(crate) fn spend<'a>(&mut self, rows: impl Iterator<Item = &'a dunlin_crdt::Row>) {
        let mut count = 0;
        let mut bytes = 0;
        for row in rows {
            count += 1;
            bytes += row.encode().len() as u64;
        }
        self.repair.budget = self.repair.budget.saturating_sub(bytes);
        self.counters.add_many("repair_rows_taken", count);
        self.counters.add_many("repair_bytes_taken", bytes);
    }
}
