//! One line of the output, before it is laid out.

/// The columns of one line.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    pub(crate) channel: String,
    pub(crate) subscription: String,
    pub(crate) event: String,
    pub(crate) attempt: String,
    pub(crate) text: String,
    pub(crate) error: String,
    pub(crate) delay: String,
}
