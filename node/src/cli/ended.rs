//! How a command ended, and the exit code that says so. `main` alone turns one into the other.

use std::process::ExitCode;

/// How a command ended that has said everything there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Done.
    Done,
    /// Not found, or the answer is no.
    No,
    /// The usage was wrong; nothing was done.
    Usage,
    /// Refused or failed; nothing was written, or what was is listed.
    Failed,
    /// It may be applied, now or later.
    Unknown,
}

impl Ended {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Unknown => 4,
        }
    }

    /// `Done` for yes, `No` for no.
    pub(crate) fn answer(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended.code())
    }
}
