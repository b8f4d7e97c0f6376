//! The shapes of the standard library's types, as serde writes them.

use super::type_shape::{Member, Shape, ShapeRef, TypeShape};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

macro_rules! leaves {
    ($($kind:literal: $($ty:ty),+;)*) => {$($(
        impl Shape for $ty {
            const SHAPE: ShapeRef = ShapeRef::to(&TypeShape { id: 0, kind: $kind, serde: &[], members: &[] });
        }
    )+)*};
}

leaves! {
    "bool": bool;
    "char": char;
    "string": String, str, PathBuf, Path;
    "i8": i8; "i16": i16; "i32": i32; "i64": i64; "i128": i128; "isize": isize;
    "u8": u8; "u16": u16; "u32": u32; "u64": u64; "u128": u128; "usize": usize;
    "f32": f32; "f64": f64;
    "unit": ();
    "duration": std::time::Duration;
    "system time": std::time::SystemTime;
    "ip address": std::net::IpAddr;
    "ip v4 address": std::net::Ipv4Addr;
    "ip v6 address": std::net::Ipv6Addr;
    "socket address": std::net::SocketAddr;
    "socket v4 address": std::net::SocketAddrV4;
    "socket v6 address": std::net::SocketAddrV6;
    // Without 0, which the plain numbers write.
    "i16 but 0": std::num::NonZeroI16; "i32 but 0": std::num::NonZeroI32; "i64 but 0": std::num::NonZeroI64;
    "u8 but 0": std::num::NonZeroU8; "u16 but 0": std::num::NonZeroU16; "u32 but 0": std::num::NonZeroU32;
    "u64 but 0": std::num::NonZeroU64;
    "json": serde_json::Value;
}

/// The shape of a container of `$content`.
macro_rules! container {
    ($kind:expr, $($content:ty),*) => {
        ShapeRef::to(&TypeShape {
            id: 0,
            kind: $kind,
            serde: &[],
            members: &[$(Member { name: "", serde: &[], shape: Some(<$content as Shape>::SHAPE), type_name: "" }),*],
        })
    };
}

macro_rules! containers {
    ($($kind:literal: $([$($generics:tt)*] $ty:ty => $($content:ty),+;)+)*) => {$($(
        impl<$($generics)*> Shape for $ty {
            const SHAPE: ShapeRef = container!($kind, $($content),+);
        }
    )+)*};
}

containers! {
    "option":
        [T: Shape] Option<T> => T;
    "list":
        [T: Shape] Vec<T> => T;
        [T: Shape] VecDeque<T> => T;
        [T: Shape] LinkedList<T> => T;
        [T: Shape] BinaryHeap<T> => T;
        [T: Shape] BTreeSet<T> => T;
        [T: Shape, S] HashSet<T, S> => T;
        [T: Shape] [T] => T;
    "map":
        [K: Shape, V: Shape] BTreeMap<K, V> => K, V;
        [K: Shape, V: Shape, S] HashMap<K, V, S> => K, V;
    "result":
        [T: Shape, E: Shape] Result<T, E> => T, E;
}

/// Types that serde writes as their content.
macro_rules! transparent {
    ($([$($generics:tt)*] $ty:ty => $inside:ty;)*) => {$(
        impl<$($generics)*> Shape for $ty {
            const SHAPE: ShapeRef = <$inside as Shape>::SHAPE;
        }
    )*};
}

transparent! {
    [T: Shape + ?Sized] Box<T> => T;
    [T: Shape + ?Sized] std::rc::Rc<T> => T;
    [T: Shape + ?Sized] std::sync::Arc<T> => T;
    [T: Shape + ToOwned + ?Sized] std::borrow::Cow<'static, T> => T;
    [T: Shape] std::cell::Cell<T> => T;
    [T: Shape] std::cell::RefCell<T> => T;
    [T: Shape] std::sync::Mutex<T> => T;
    [T: Shape] std::cmp::Reverse<T> => T;
    [T: Shape] std::num::Wrapping<T> => T;
    [T: ?Sized] PhantomData<T> => ();
}

impl<T: Shape, const N: usize> Shape for [T; N] {
    const SHAPE: ShapeRef = ShapeRef::to(&TypeShape {
        id: 0,
        kind: "array",
        serde: &[],
        members: &[Member { name: Length::<N>::TEXT, serde: &[], shape: Some(T::SHAPE), type_name: "" }],
    });
}

/// The length of an array as text, at compile time.
struct Length<const N: usize>;

impl<const N: usize> Length<N> {
    const DIGITS: &'static [u8; 20] = &{
        let (mut digits, mut rest, mut at) = ([b'0'; 20], N, 20);
        while rest > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    };

    /// The number of leading zeros.
    const LEADING: usize = {
        let mut at = 0;
        while at < 19 && Self::DIGITS[at] == b'0' {
            at += 1;
        }
        at
    };

    const TEXT: &'static str = match std::str::from_utf8(Self::DIGITS.split_at(Self::LEADING).1) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    };
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: Shape),+> Shape for ($($name,)+) {
            const SHAPE: ShapeRef = container!("tuple", $($name),+);
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}
