//! One name, one payload type: refused while compiling, over all crates that the compiler has loaded.
//!
//! A channel's name is a type. Each derive gives that type an implementation that says who its payload is, and then asks
//! the compiler to find the payload by the name: with two implementations it cannot, and shows both. The names of what is
//! here are read in that error.

use std::marker::PhantomData;

macro_rules! channel_name {
    ($($letter:ident)*) => {
        /// The name of a channel, letter by letter. The letters left out do not show in errors.
        #[derive(Debug)]
        pub struct ChannelName<$(const $letter: char = '\0'),*>;
    };
}

// As many as a name has at most.
channel_name! {
    A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 B0 B1 B2 B3 B4 B5 B6 B7 B8 B9 C0 C1 C2 C3 C4 C5 C6 C7 C8 C9 D0 D1 D2 D3 D4 D5 D6 D7 D8 D9
    E0 E1 E2 E3 E4 E5 E6 E7 E8 E9 F0 F1 F2 F3 F4 F5 F6 F7 F8 F9 G0 G1 G2
}

/// Of a [`ChannelName`]: whose channel it is.
pub trait NameOfChannel<Payload> {}

/// Of a payload type: the name that its derive gave it.
pub trait Named {
    /// A [`ChannelName`].
    type Name;
}

/// Compiles if one payload type has this name. `Payload` is never given: to find it is the check.
pub const fn one_payload_type_per_channel<Name: NameOfChannel<Payload>, Payload>() {}

/// [`one_payload_type_per_channel`], of the name behind a `Probe`.
pub const fn one_payload_type_per_listed_channel<Name: NameOfChannel<Payload>, Payload>(
    _: PhantomData<Name>,
) {
}

/// Finds the name of a payload type, whether its channel was derived or written by hand.
#[derive(Debug)]
pub struct Probe<C>(pub PhantomData<C>);

/// Of a derived channel.
pub trait ByDerive {
    /// Its [`ChannelName`].
    type Name;

    /// Nothing, of the type that is the name.
    fn name(&self) -> PhantomData<Self::Name> {
        PhantomData
    }
}

impl<C: Named> ByDerive for Probe<C> {
    type Name = C::Name;
}

/// Of any other. A method call takes it only if there is no [`ByDerive`].
pub trait ByHand {
    /// Nothing, of a name that nobody else has.
    fn name(&self) -> PhantomData<Anonymous> {
        PhantomData
    }
}

impl<C> ByHand for &Probe<C> {}

/// The name of what has none as a type.
#[derive(Debug)]
pub struct Anonymous;

impl NameOfChannel<()> for Anonymous {}

/// Refuses the `second` of the `listed` channels, each a type and its name, if one before it has the same name: for those
/// that the types cannot tell apart, because they were written by hand.
///
/// # Panics
/// While compiling, with a sentence that names both.
pub const fn one_name_per_listed_channel(listed: &[(&str, &str)], second: usize) {
    let mut first = 0;
    while first < second {
        if equal(listed[first].1.as_bytes(), listed[second].1.as_bytes()) {
            let mut sentence = Sentence { bytes: [0; Sentence::LONGEST], length: 0 };
            sentence.push("`");
            sentence.push(listed[first].0);
            sentence.push("` and `");
            sentence.push(listed[second].0);
            sentence.push("` have one channel's name, `");
            sentence.push(listed[second].1);
            sentence.push("`: rename one of the two");
            panic!("{}", sentence.text());
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

/// What a panic says while compiling, where nothing can be formatted.
struct Sentence {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Sentence {
    /// Past this, the sentence is cut.
    const LONGEST: usize = 512;

    const fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() && self.length < Self::LONGEST {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
    }

    const fn text(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            // Cut within a letter.
            Err(_) => "two channels have one name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_channels_with_names_of_their_own_are_accepted() {
        let listed = [("A", "a"), ("B", "ab"), ("C", "b"), ("D", "")];
        for second in 0..listed.len() {
            one_name_per_listed_channel(&listed, second);
        }
    }

    #[test]
    fn two_listed_channels_of_one_name_are_both_named() {
        let refused = std::panic::catch_unwind(|| {
            one_name_per_listed_channel(&[("a::Sms", "sms"), ("Mail", "mail"), ("b::Sms", "sms")], 2);
        });
        let said = refused.expect_err("a refusal");
        assert_eq!(
            said.downcast_ref::<String>().map(String::as_str),
            Some("`a::Sms` and `b::Sms` have one channel's name, `sms`: rename one of the two")
        );
    }

    #[test]
    fn a_sentence_is_cut_and_stays_text() {
        let long = "ö".repeat(400);
        let refused =
            std::panic::catch_unwind(|| one_name_per_listed_channel(&[(&long, "x"), ("b", "x")], 1));
        assert!(refused.is_err());
    }
}
