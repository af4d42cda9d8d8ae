//! How many of n a request asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::QuorumParseError;

/// How many of the n owners must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quorum {
    /// Any one.
    One,
    /// More than half.
    Majority,
    /// Every one.
    All,
    /// This many. Zero is allowed: it waits for none, as `dw = 0` does.
    Exactly(u8),
}

impl Quorum {
    /// The number needed out of `n`.
    ///
    /// [`Quorum::Exactly`] is returned as it is, even above `n`: lowering it in silence would
    /// promise more than is done, so the caller refuses the request.
    #[must_use]
    pub fn needed(self, n: usize) -> usize {
        match self {
            Quorum::One => 1,
            Quorum::Majority => n / 2 + 1,
            Quorum::All => n,
            Quorum::Exactly(count) => usize::from(count),
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum::One => f.write_str("one"),
            Quorum::Majority => f.write_str("majority"),
            Quorum::All => f.write_str("all"),
            Quorum::Exactly(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for Quorum {
    type Err = QuorumParseError;

    fn from_str(text: &str) -> Result<Quorum, QuorumParseError> {
        match text {
            "one" => Ok(Quorum::One),
            "majority" => Ok(Quorum::Majority),
            "all" => Ok(Quorum::All),
            number => match number.parse() {
                Ok(count) => Ok(Quorum::Exactly(count)),
                Err(_) => Err(QuorumParseError {
                    text: text.to_owned(),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_reads_back_from_what_it_prints() {
        for quorum in [
            Quorum::One,
            Quorum::Majority,
            Quorum::All,
            Quorum::Exactly(0),
            Quorum::Exactly(1),
            Quorum::Exactly(255),
        ] {
            assert_eq!(quorum.to_string().parse(), Ok(quorum));
        }
    }

    #[test]
    fn a_text_that_is_no_quorum_is_refused() {
        for text in ["", "two", "256", "-1", "1.5", " one", "Majority"] {
            assert_eq!(
                text.parse::<Quorum>(),
                Err(QuorumParseError {
                    text: text.to_owned()
                })
            );
        }
    }

    #[test]
    fn two_majorities_always_meet() {
        for n in 1..=16 {
            assert!(2 * Quorum::Majority.needed(n) > n);
            assert!(Quorum::Majority.needed(n) <= n);
        }
    }

    #[test]
    fn an_exact_number_is_never_lowered() {
        assert_eq!(Quorum::Exactly(5).needed(3), 5);
        assert_eq!(Quorum::Exactly(0).needed(3), 0);
    }
}
