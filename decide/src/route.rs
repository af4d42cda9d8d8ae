//! Which node is asked next.
//!
//! ```text
//! 1  an owner that is connected and sound        the best by score, in turns among equals
//! 2  wait, if an owner is being dialed for the first time
//! 3  any other node that is connected and sound  it passes the request on
//! 4  an owner that is suspect, then any suspect
//! 5  wait for a connection, if one is being made
//! ```
//!
//! A node that this request has been sent to already is not asked again in the same round.

/// A node that could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it owns the partition, or the request has none.
    pub owner: bool,
    /// Whether this request was sent to it already, in this round.
    pub tried: bool,
    /// How it stands.
    pub standing: Standing,
}

/// How a node stands with this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Connected and answering.
    Ready {
        /// What one more request is expected to take; less is better.
        score: u64,
    },
    /// Connected, but it left a request unanswered.
    Suspect {
        /// As above.
        score: u64,
    },
    /// Being dialed for the first time, which takes a moment.
    Fresh,
    /// Not connected; being dialed again and again.
    Away,
}

/// Whether a request may wait for an owner that is being dialed for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It may.
    Left,
    /// It has waited long enough.
    Spent,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Ask the candidate at this position.
    Ask(usize),
    /// Wait until a connection is made, lost or given up.
    Wait,
    /// Every candidate that can be reached was tried in this round.
    Exhausted,
}

/// Chooses among candidates. `turn` is any number that changes from request to request.
#[must_use]
pub fn choose(candidates: &[Candidate], patience: Patience, turn: u64) -> Choice {
    let ready = |standing| match standing {
        Standing::Ready { score } => Some(score),
        Standing::Suspect { .. } | Standing::Fresh | Standing::Away => None,
    };
    let suspect = |standing| match standing {
        Standing::Suspect { score } => Some(score),
        Standing::Ready { .. } | Standing::Fresh | Standing::Away => None,
    };
    if let Some(best) = best(candidates, turn, |c| c.owner.then(|| ready(c.standing))?) {
        return Choice::Ask(best);
    }
    let fresh_owner = |c: &Candidate| c.owner && c.standing == Standing::Fresh;
    if patience == Patience::Left && candidates.iter().any(fresh_owner) {
        return Choice::Wait;
    }
    let asked = best(candidates, turn, |c| ready(c.standing))
        .or_else(|| {
            best(candidates, turn, |c| {
                c.owner.then(|| suspect(c.standing))?
            })
        })
        .or_else(|| best(candidates, turn, |c| suspect(c.standing)));
    match asked {
        Some(position) => Choice::Ask(position),
        None if candidates.iter().any(|c| c.tried && is_connected(c)) => Choice::Exhausted,
        None => Choice::Wait,
    }
}

fn is_connected(candidate: &Candidate) -> bool {
    match candidate.standing {
        Standing::Ready { .. } | Standing::Suspect { .. } => true,
        Standing::Fresh | Standing::Away => false,
    }
}

/// The candidate to ask among the untried ones that have a score: in turns among those whose score
/// is at most half above the best.
fn best(
    candidates: &[Candidate],
    turn: u64,
    score: impl Fn(&Candidate) -> Option<u64>,
) -> Option<usize> {
    let scores = || {
        candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| !candidate.tried)
            .filter_map(|(position, candidate)| Some((position, score(candidate)?)))
    };
    let lowest = scores().map(|(_, score)| score).min()?;
    let equals = || scores().filter(move |(_, score)| *score <= lowest.saturating_add(lowest / 2));
    let nth = turn % (equals().count() as u64).max(1);
    equals().nth(nth as usize).map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(standing: Standing) -> Candidate {
        Candidate {
            owner: true,
            tried: false,
            standing,
        }
    }

    fn other(standing: Standing) -> Candidate {
        Candidate {
            owner: false,
            ..owner(standing)
        }
    }

    fn tried(candidate: Candidate) -> Candidate {
        Candidate {
            tried: true,
            ..candidate
        }
    }

    const READY: Standing = Standing::Ready { score: 100 };
    const SLOW: Standing = Standing::Ready { score: 900 };
    const SUSPECT: Standing = Standing::Suspect { score: 100 };

    fn check(candidates: &[Candidate], expected: Choice) {
        assert_eq!(
            choose(candidates, Patience::Left, 0),
            expected,
            "{candidates:?}"
        );
    }

    #[test]
    fn equals_are_asked_in_turns() {
        let candidates = [owner(READY), owner(SLOW), owner(READY), owner(READY)];
        let asked: Vec<_> = (0..4)
            .map(|turn| choose(&candidates, Patience::Left, turn))
            .collect();
        assert_eq!(asked, [0, 2, 3, 0].map(Choice::Ask));
    }

    #[test]
    fn an_owner_is_asked_before_any_other_even_if_it_is_slower() {
        check(&[other(READY), owner(SLOW)], Choice::Ask(1));
    }

    #[test]
    fn another_node_is_asked_when_no_owner_can_be() {
        check(&[owner(Standing::Away), other(READY)], Choice::Ask(1));
        check(&[tried(owner(READY)), other(READY)], Choice::Ask(1));
    }

    #[test]
    fn a_suspect_is_asked_last_and_owners_first_among_them() {
        check(&[owner(SUSPECT), other(READY)], Choice::Ask(1));
        check(&[other(SUSPECT), owner(SUSPECT)], Choice::Ask(1));
        check(&[owner(Standing::Away), other(SUSPECT)], Choice::Ask(1));
    }

    #[test]
    fn an_owner_being_dialed_for_the_first_time_is_waited_for_only_so_long() {
        let candidates = [owner(Standing::Fresh), other(READY)];
        assert_eq!(choose(&candidates, Patience::Left, 0), Choice::Wait);
        assert_eq!(choose(&candidates, Patience::Spent, 0), Choice::Ask(1));
    }

    #[test]
    fn with_everybody_away_there_is_only_waiting() {
        check(
            &[owner(Standing::Away), other(Standing::Away)],
            Choice::Wait,
        );
    }

    #[test]
    fn a_node_that_was_lost_after_it_was_asked_is_waited_for() {
        check(&[tried(owner(Standing::Away))], Choice::Wait);
    }

    #[test]
    fn a_round_ends_when_everybody_within_reach_was_tried() {
        check(
            &[tried(owner(READY)), owner(Standing::Away)],
            Choice::Exhausted,
        );
    }
}
