//! Why a command failed: one line for people, an exit code for programs.

use std::process::ExitCode;

/// What an exit code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Something went wrong.
    Error = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The daemon or the registry does not answer.
    Unreachable = 4,
    /// What was checked is wrong.
    CheckFailed = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the exit code is to say.
    pub exit: Exit,
    /// What is wrong, and the way out; one line without the program's name.
    pub message: String,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// A failure of the general kind.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    /// Something named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::error(format!("{error:#}"))
    }
}

/// Result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;
