//! Refuses two payload types with one channel name at compile time, in every crate that the compiler has loaded.
//!
//! A channel's name is a type. Each derive implements [`DeclaredBy`] for that type, and then asks the compiler to infer the
//! payload from the name. With two implementations it cannot, and its error shows both. The names of the items here are
//! chosen for that error.

use std::marker::PhantomData;

macro_rules! channel_name {
    ($($letter:ident)*) => {
        /// The name of a channel, letter by letter. Errors leave out the letters that have their default.
        #[derive(Debug)]
        pub struct ChannelName<$(const $letter: char = '\0'),*>;
    };
}

// 63 letters, the most that a name may have.
channel_name! {
    A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 B0 B1 B2 B3 B4 B5 B6 B7 B8 B9 C0 C1 C2 C3 C4 C5 C6 C7 C8 C9 D0 D1 D2 D3 D4 D5 D6 D7 D8 D9
    E0 E1 E2 E3 E4 E5 E6 E7 E8 E9 F0 F1 F2 F3 F4 F5 F6 F7 F8 F9 G0 G1 G2
}

/// A [`ChannelName`] that is the name of `Payload`'s channel.
pub trait DeclaredBy<Payload> {}

/// A payload type whose derive made its channel's name a type.
pub trait HasChannelName {
    /// A [`ChannelName`].
    type Name;
}

/// Compiles if one payload type has this name. Callers leave `Payload` to be inferred, and that is the check.
pub const fn one_payload_type_per_channel<Name: DeclaredBy<Payload>, Payload>() {}

/// [`one_payload_type_per_channel`] for a name that [`NameOf`] has found.
pub const fn one_payload_type_per_listed_channel<Name: DeclaredBy<Payload>, Payload>(_: PhantomData<Name>) {}

/// Finds the name of a payload type, whether `Channel` is derived or implemented by hand.
#[derive(Debug)]
pub struct NameOf<C>(pub PhantomData<C>);

/// The name of a derived channel.
pub trait DerivedName {
    /// A [`ChannelName`].
    type Name;

    /// Returns the name's type.
    fn name(&self) -> PhantomData<Self::Name> {
        PhantomData
    }
}

impl<C: HasChannelName> DerivedName for NameOf<C> {
    type Name = C::Name;
}

/// The fallback for a channel that is implemented by hand. A method call picks it only if [`DerivedName`] is not
/// implemented.
pub trait UnknownName {
    /// Returns the type of a name that is never taken.
    fn name(&self) -> PhantomData<Unnamed> {
        PhantomData
    }
}

impl<C> UnknownName for &NameOf<C> {}

/// A placeholder for a name that is not a type.
#[derive(Debug)]
pub struct Unnamed;

impl DeclaredBy<()> for Unnamed {}

/// Refuses the `second` of the `listed` channels, each a type and its name, if an earlier one has the same name. This finds
/// channels that are implemented by hand, whose names are not types.
///
/// # Panics
/// At compile time, with a sentence that names both types.
pub const fn one_name_per_listed_channel(listed: &[(&str, &str)], second: usize) {
    let mut first = 0;
    while first < second {
        if equal(listed[first].1.as_bytes(), listed[second].1.as_bytes()) {
            let mut message = Message { bytes: [0; Message::MAX_BYTES], length: 0 };
            message.push("`");
            message.push(listed[first].0);
            message.push("` and `");
            message.push(listed[second].0);
            message.push("` have the same channel name, `");
            message.push(listed[second].1);
            message.push("`: rename one of the two");
            panic!("{}", message.text());
        }
        first += 1;
    }
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The message of a panic at compile time, where nothing can be formatted.
struct Message {
    bytes: [u8; Self::MAX_BYTES],
    length: usize,
}

impl Message {
    /// A longer message is cut.
    const MAX_BYTES: usize = 512;

    const fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() && self.length < Self::MAX_BYTES {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
    }

    const fn text(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            // It was cut within a character.
            Err(_) => "two channels have the same name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_channels_with_different_names_are_accepted() {
        let listed = [("A", "a"), ("B", "ab"), ("C", "b"), ("D", "")];
        for second in 0..listed.len() {
            one_name_per_listed_channel(&listed, second);
        }
    }

    #[test]
    fn two_listed_channels_with_one_name_are_both_named() {
        let refused = std::panic::catch_unwind(|| {
            one_name_per_listed_channel(&[("a::Sms", "sms"), ("Mail", "mail"), ("b::Sms", "sms")], 2);
        });
        let payload = refused.expect_err("a refusal");
        assert_eq!(
            payload.downcast_ref::<String>().map(String::as_str),
            Some("`a::Sms` and `b::Sms` have the same channel name, `sms`: rename one of the two")
        );
    }

    #[test]
    fn a_message_is_cut_and_stays_text() {
        let long = "ö".repeat(400);
        let refused =
            std::panic::catch_unwind(|| one_name_per_listed_channel(&[(&long, "x"), ("b", "x")], 1));
        assert!(refused.is_err());
    }
}
