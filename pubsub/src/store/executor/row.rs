//! The rows that a statement returns.

/// The error of a value that cannot be sent or read.
pub(in crate::store) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A row that a statement has returned.
#[derive(Debug)]
pub struct Row(Vec<Value>);

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Value {
    Null,
    Bool(bool),
    Int8(i64),
    Text(String),
}

const BOOL: u32 = 16;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const VOID: u32 = 2278;

impl FromIterator<Value> for Row {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Row {
    /// Returns the value of a column, from 0.
    pub(in crate::store) fn get<T: TryFrom<Value, Error = Value>>(
        &self,
        column: usize,
    ) -> Result<T, BoxError> {
        let value = self.0.get(column).cloned().unwrap_or(Value::Null);
        value.try_into().map_err(|other| format!("column {column} of the answer is {other:?}").into())
    }
}

impl Value {
    /// Reads a value from the number of its type and the bytes that the server sent in binary format. Null has no bytes.
    pub(super) fn read(oid: u32, bytes: Option<&[u8]>) -> Result<Self, BoxError> {
        let Some(bytes) = bytes else { return Ok(Self::Null) };
        Ok(match oid {
            BOOL => Self::Bool(bytes == [1]),
            INT8 => Self::Int8(i64::from_be_bytes(bytes.try_into()?)),
            TEXT => Self::Text(std::str::from_utf8(bytes)?.to_owned()),
            VOID => Self::Null,
            _ => return Err(format!("the answer has a column of type {oid}").into()),
        })
    }
}

macro_rules! values {
    ($($variant:ident: $type:ty),* $(,)?) => {$(
        impl TryFrom<Value> for $type {
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    Value::$variant(value) => Ok(value),
                    other => Err(other),
                }
            }
        }
    )*};
}

values!(Bool: bool, Int8: i64, Text: String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_from_the_bytes_of_the_server() {
        let values: [(u32, Option<&[u8]>); 6] = [
            (INT8, Some(&[0, 0, 0, 0, 0, 0, 1, 2])),
            (BOOL, Some(&[1])),
            (BOOL, Some(&[0])),
            (TEXT, Some("grüße".as_bytes())),
            (TEXT, None),
            (VOID, Some(&[])),
        ];
        let row: Row = values.into_iter().map(|(oid, bytes)| Value::read(oid, bytes).unwrap()).collect();
        assert_eq!(row.get::<i64>(0).unwrap(), 258);
        assert!(row.get::<bool>(1).unwrap() && !row.get::<bool>(2).unwrap());
        assert_eq!(row.get::<String>(3).unwrap(), "grüße");
        assert_eq!(row.0[4..], [Value::Null, Value::Null]);
    }

    #[test]
    fn a_row_of_another_shape_is_an_error() {
        let row = Row(vec![Value::Bool(true)]);
        assert_eq!(row.get::<i64>(0).unwrap_err().to_string(), "column 0 of the answer is Bool(true)");
        assert_eq!(row.get::<bool>(1).unwrap_err().to_string(), "column 1 of the answer is Null");
        for (oid, bytes) in [(INT8, &[1_u8, 2][..]), (TEXT, &[0xff]), (23, &[0, 0, 0, 1])] {
            assert!(Value::read(oid, Some(bytes)).is_err(), "{oid}");
        }
    }
}
