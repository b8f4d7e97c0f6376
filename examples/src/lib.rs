//! Examples of `pubsub`.
