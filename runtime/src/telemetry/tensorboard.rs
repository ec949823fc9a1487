//! TensorBoard event files: records of length, masked CRC32C, an `Event` message, masked CRC32C (TensorFlow's TFRecord). Each attempt
//! writes a file of its own, whose first events are the version and a session start: at one of step `n` TensorBoard forgets what files
//! before it say of step `n` and later, so that an attempt that goes on leaves no step twice.
//!
//! Numbers are scalars (32-bit floats, as TensorBoard keeps them), samples and the step's parameters are texts.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::TelemetryError;
use super::protobuf::Message;
use super::record::{Origin, Point, PointValue, Sink};

/// `DT_STRING` of TensorFlow's types.
const STRING: u64 = 7;
/// `SessionLog.START`.
const START: u64 = 1;

/// One event file.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
    /// Samples of the newest step that has any: each has a tag of its own.
    samples: (u64, usize),
}

impl EventFile {
    /// A new file for what comes from step `first_step` on.
    pub(super) fn open(folder: &Path, origin: &Origin, first_step: u64) -> Result<Self, TelemetryError> {
        std::fs::create_dir_all(folder).map_err(TelemetryError::io(folder))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("events.out.tfevents.{:010}.cupola.{}", since.as_secs(), origin.token);
        let path = folder.join(name);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.map_err(TelemetryError::io(&path))?;
        let mut events = Self { path, file, samples: (0, 0) };
        let at_millis = since.as_millis() as i64;
        events.write(event(at_millis, 0).bytes(3, "brain.Event:2"))?;
        events.write(event(at_millis, first_step).message(7, Message::default().int(1, START)))?;
        if first_step == 0 && !origin.params.is_empty() {
            let rows = origin.params.iter().map(|(name, value)| format!("| {name} | {value} |\n"));
            let table = format!("| parameter | value |\n|---|---|\n{}", rows.collect::<String>());
            events.write(event(at_millis, 0).message(5, text("parameters", &table)))?;
        }
        Ok(events)
    }

    fn write(&mut self, event: Message) -> Result<(), TelemetryError> {
        self.file.write_all(&record(&event.into_bytes())).map_err(TelemetryError::io(&self.path))
    }
}

impl Sink for EventFile {
    fn take(&mut self, point: &Point<'_>) -> Result<(), TelemetryError> {
        let head = event(point.at_millis, point.step);
        let event = match point.value {
            PointValue::Metric(name, value) => head.message(5, scalar(name, value as f32)),
            PointValue::Sample(prompt, written) => {
                let (step, count) = self.samples;
                self.samples = (point.step, if step == point.step { count + 1 } else { 1 });
                let shown = format!("**{}**{}", indented(prompt), indented(written));
                head.message(5, text(&format!("samples/{}", self.samples.1), &shown))
            }
        };
        self.write(event)
    }
}

/// Text that Markdown shows as it is.
fn indented(text: &str) -> String {
    format!("\n\n    {}\n", text.replace('\n', "\n    "))
}

/// The head of an `Event`: wall time and step.
fn event(at_millis: i64, step: u64) -> Message {
    Message::default().double(1, at_millis as f64 / 1000.0).int(2, step)
}

/// A `Summary` with one scalar.
fn scalar(tag: &str, value: f32) -> Message {
    Message::default().message(1, Message::default().bytes(1, tag).float(2, value))
}

/// A `Summary` with one text: a string tensor that names the plugin which shows it.
fn text(tag: &str, text: &str) -> Message {
    let dimension = Message::default().message(2, Message::default().int(1, 1));
    let tensor = Message::default().int(1, STRING).message(2, dimension).bytes(8, text);
    let plugin = Message::default().message(1, Message::default().bytes(1, "text"));
    Message::default().message(1, Message::default().bytes(1, tag).message(8, tensor).message(9, plugin))
}

/// A framed record.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// TFRecord's checksum: CRC32C turned by 15 bits, plus a constant.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of TensorFlow's own file of one version event at time 0, but for the checksum of the body, which is computed here by its
    /// definition.
    #[test]
    fn a_record_is_length_checksum_data_checksum() {
        let data = event(0, 0).bytes(3, "brain.Event:2").into_bytes();
        let record = record(&data);
        assert_eq!(record[..8], (data.len() as u64).to_le_bytes());
        assert_eq!(record[12..12 + data.len()], data);
        let crc = u32::from_le_bytes(record[12 + data.len()..].try_into().unwrap());
        let unmasked = crc.wrapping_sub(0xa282_ead8);
        assert_eq!(unmasked.rotate_left(15), crc32c::crc32c(&data));
        // What TensorBoard's own `masked_crc32c` says of a length of 24.
        assert_eq!(masked(&24u64.to_le_bytes()), u32::from_le_bytes([0xa3, 0x7f, 0x4b, 0x22]));
    }
}
