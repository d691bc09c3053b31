//! A study's curves for TensorBoard: a folder a run, with one event file of scalars.
//!
//! Event files are TFRecords (length, its checksum, message, its checksum; each checksum a masked CRC-32C) of the messages
//! `Event` and `Summary` in `tensorflow/core/util/event.proto` and `framework/summary.proto`, as far as needed.

use std::path::Path;

use anyhow::Result;
use apet_record::RunRecord;
use apet_store::write_atomic;
use prost::Message;

use super::curves;

/// `Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes a run's losses, rates, gradients and scores into its own directory under `logs`.
///
/// # Errors
/// When its start is no time, or the file cannot be written.
pub(crate) fn write(record: &RunRecord, logs: &Path) -> Result<()> {
    let begun = curves::begun(record)?;
    let first = Event {
        wall_time: begun,
        step: 0,
        file_version: Some("brain.Event:2".into()),
        summary: None,
    };
    let mut bytes = Vec::new();
    frame(&first.encode_to_vec(), &mut bytes);
    for point in curves::points(record)? {
        let scalar = |(tag, value): (String, f64)| Scalar {
            tag,
            simple_value: Some(value as f32),
        };
        let event = Event {
            wall_time: point.time,
            step: point.step as i64,
            file_version: None,
            summary: Some(Summary {
                value: point.scalars.into_iter().map(scalar).collect(),
            }),
        };
        frame(&event.encode_to_vec(), &mut bytes);
    }
    let name = format!("events.out.tfevents.{}.apet", begun as u64);
    let path = logs.join(curves::name(record)).join(name);
    write_atomic(&path, |out| Ok(out.write_all(&bytes)?))
}

/// One TFRecord.
fn frame(message: &[u8], out: &mut Vec<u8>) {
    let length = (message.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
}

fn masked(bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures by an implementation of CRC-32C a bit at a time.
    #[test]
    fn records_are_framed_with_masked_checksums() {
        let mut out = Vec::new();
        frame(b"", &mut out);
        let (length, sums) = ([0; 8], [0x29, 0x03, 0x98, 0x07, 0xd8, 0xea, 0x82, 0xa2]);
        assert_eq!(out, [length, sums].concat());
    }
}
