//! The one error type of the workspace: a kind that says what the caller should do, and a sentence for a person.
//!
//! It lives in the lowest crate because every crate's errors travel through the others' (a flush fails in `forst`,
//! is reported by `checkpoint` and printed by `cli`) and none of them adds a kind of its own.
use std::any::Any;
use std::fmt;

/// What the caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Retry later: a store, a disk or a peer did not answer as it should.
    Unavailable,
    /// Fix the call, the settings or the input.
    Invalid,
    /// Bytes from outside are not what was written: fall back to an older checkpoint.
    Corruption,
    /// Stop: another incarnation owns the state now.
    Fenced,
    /// Stop: the component was closed.
    Closed,
    /// The operation was given up on request.
    Cancelled,
    /// A bug: report it.
    Internal,
}

/// An error with what to do ([`ErrorKind`]), what happened, where, and why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is a sentence without its full stop that names the thing and the way out.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), source: None }))
    }

    /// Shorthand for [`ErrorKind::Unavailable`].
    #[cold]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    #[cold]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::Corruption`].
    #[cold]
    pub fn corruption(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corruption, message)
    }

    /// Shorthand for [`ErrorKind::Fenced`].
    #[cold]
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// Shorthand for [`ErrorKind::Closed`].
    #[cold]
    pub fn closed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Closed, message)
    }

    /// Shorthand for [`ErrorKind::Cancelled`].
    #[cold]
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The error of a panic that was caught.
    #[cold]
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        // An error is one line; what an assertion has compared stands on lines of its own.
        let lines: Vec<_> = text.unwrap_or("no message").lines().map(str::trim).collect();
        Self::internal(format!("panicked: {}", lines.join(", ")))
    }

    /// Says where it happened; the outermost place is printed first.
    #[must_use]
    pub fn context(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence without its places and causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A copy for another waiter of the same failed operation; the source is kept as text only.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let message = match &self.0.source {
            Some(source) => format!("{}: {source}", self.0.message),
            None => self.0.message.clone(),
        };
        Self(Box::new(Inner { kind: self.0.kind, message, context: self.0.context.clone(), source: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().and_then(|s| s.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_one_line() {
        let of = |payload: &(dyn Any + Send)| Error::of_panic(payload).to_string();
        assert_eq!(of(&"no such day"), "panicked: no such day");
        assert_eq!(
            of(&"it failed\n  left: 1\n right: 2".to_owned()),
            "panicked: it failed, left: 1, right: 2"
        );
        assert_eq!(of(&7), "panicked: no message");
    }

    #[test]
    fn display_reads_from_the_outermost_place_to_the_cause() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::unavailable("cannot read block 7")
            .with_source(cause)
            .context("sst 12")
            .context("subtask 0");
        assert_eq!(error.to_string(), "subtask 0: sst 12: cannot read block 7: disk on fire");
        assert_eq!(error.duplicate().to_string(), error.to_string());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
