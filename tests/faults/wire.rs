//! Messages of PostgreSQL's protocol, as far as a proxy must understand them: where each ends, and whose connection it is.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No message of these tests is longer.
const MAX_MESSAGE: usize = 64 << 20;

/// The direction that a message travels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// The kind of a connection, known by its first statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Listener,
    Heartbeat,
    Pool,
}

/// One message with its header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The type byte. Zero for a startup message, which has none.
    pub(crate) kind: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// Reads the next message. `None` at the orderly end of the connection.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        startup: bool,
    ) -> io::Result<Option<Self>> {
        let mut header = [0; 5];
        let header = &mut header[..if startup { 4 } else { 5 }];
        match stream.read_exact(header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let (kind, length) = if startup { (0, &header[..]) } else { (header[0], &header[1..]) };
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        let mut bytes = header.to_vec();
        let start = bytes.len();
        bytes.resize(start + length - 4, 0);
        stream.read_exact(&mut bytes[start..]).await?;
        Ok(Some(Self { kind, bytes }))
    }

    /// Whether this is a notification on its way to a listener.
    pub(crate) fn is_notification(&self, direction: Direction) -> bool {
        direction == Direction::ToClient && self.kind == b'A'
    }

    /// The role of a client that sends this message, if the message shows it.
    pub(crate) fn role(&self) -> Option<Role> {
        let statement = matches!(self.kind, b'Q' | b'P').then(|| String::from_utf8_lossy(&self.bytes))?;
        match () {
            () if statement.contains("listen pubsub") => Some(Role::Listener),
            () if statement.contains("pubsub.beat(") => Some(Role::Heartbeat),
            // The settings of every session.
            () if statement.contains("set statement_timeout") => None,
            () => Some(Role::Pool),
        }
    }
}

#[tokio::test]
async fn messages_are_told_apart() {
    let startup = [0, 0, 0, 8, 0, 3, 0, 0];
    let query = b"Q\0\0\0\x12listen pubsub\0".to_vec();
    let stream = [&startup[..], &query, b"Q\0\0\0\x0cselect", b"\0\0"].concat();
    let mut stream = &stream[..];
    let first = Message::read(&mut stream, true).await.unwrap().unwrap();
    assert_eq!((first.kind, &first.bytes[..], first.role()), (0, &startup[..], None));
    let second = Message::read(&mut stream, false).await.unwrap().unwrap();
    assert_eq!((second.kind, &second.bytes), (b'Q', &query));
    assert_eq!(second.role(), Some(Role::Listener));
    assert_eq!(Message::read(&mut stream, false).await.unwrap().unwrap().role(), Some(Role::Pool));
    assert!(Message::read(&mut stream, false).await.unwrap().is_none());
}
