//! The one error type that crosses module borders.
//!
//! Every failure answers four questions: what happened, because of what, what became of the data, what to do.
//! The display layer prints them; the exit code follows from the kind alone.

use serde::{Deserialize, Serialize};

/// A result whose error can be shown to a person.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What sort of failure this is; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The environment did not do what it should: engine, network, file system. Exit 1.
    Environment,
    /// The command line or configuration cannot be understood. Exit 2.
    Usage,
    /// Refused before anything changed. Exit 3.
    Refused,
    /// Failed, and everything is as it was before. Exit 10.
    RolledBack,
    /// Interrupted; the journal can be resumed. Exit 11.
    Interrupted,
    /// Neither forward nor back works without a person. Exit 12.
    Stuck,
    /// A bug in Rehome. Exit 70.
    Bug,
}

/// What a user is told when something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What happened, one line.
    pub what: String,
    /// Because of what; the outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What became of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What to do, each a sentence or a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Failure {
    fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            causes: Vec::new(),
            data: None,
            hints: Vec::new(),
        }
    }

    /// The environment did not do what it should.
    pub fn environment(what: impl Into<String>) -> Self {
        Self::new(Kind::Environment, what)
    }

    /// The command line or configuration cannot be understood.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// Refused before anything changed.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(Kind::Refused, what)
    }

    /// Stopped by a signal; the run can go on later.
    pub fn interrupted(what: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, what)
    }

    /// Needs a person.
    pub fn stuck(what: impl Into<String>) -> Self {
        Self::new(Kind::Stuck, what)
    }

    /// Something that cannot be: a bug in Rehome.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Kind::Bug, what)
    }

    /// Adds a cause: an error with its own chain of sources, each told once.
    #[must_use]
    pub fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !self.causes.iter().any(|known| known.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds a cause in words.
    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Says what became of the data.
    #[must_use]
    pub fn data(mut self, text: impl Into<String>) -> Self {
        self.data = Some(text.into());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// The same failure told from further out: `what` becomes the first cause.
    #[must_use]
    pub fn inside(mut self, what: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.what, what.into());
        self.causes.insert(0, inner);
        self
    }

    /// The same failure under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl std::fmt::Display for Failure {
    /// One line: what happened and its first cause. The display layer prints the rest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match self.causes.first() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_an_outer_view_keeps_the_inner() {
        let io = std::io::Error::other("disk on fire");
        let failure = Failure::environment("cannot write the journal")
            .because(&io)
            .inside("the run cannot go on");
        assert_eq!(failure.what, "the run cannot go on");
        assert_eq!(failure.causes, ["cannot write the journal", "disk on fire"]);
        assert_eq!(
            failure.to_string(),
            "the run cannot go on: cannot write the journal"
        );
    }
}
