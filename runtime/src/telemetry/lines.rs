//! Curves as text: `metrics.csv` (`at_millis,step,name,value`, one number a line) and `metrics.jsonl` (numbers and samples, one object a
//! line). Each line is one write, so that a killed worker leaves whole lines and at most half a last one.
//!
//! An attempt that goes on at step `n` first drops the lines of step `n` and later, and a torn last line: no step is there twice.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::TelemetryError;
use super::record::{Point, PointValue, Sink};

/// The first line of a CSV file.
const HEADER: &str = "at_millis,step,name,value\n";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFormat {
    /// `metrics.csv`.
    Csv,
    /// `metrics.jsonl`.
    Jsonl,
}

/// A file of lines.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
    format: LineFormat,
}

impl LineFile {
    /// Opens the file of a folder for what comes from step `first_step` on.
    pub(super) fn open(folder: &Path, format: LineFormat, first_step: u64) -> Result<Self, TelemetryError> {
        std::fs::create_dir_all(folder).map_err(TelemetryError::io(folder))?;
        let path = folder.join(match format {
            LineFormat::Csv => "metrics.csv",
            LineFormat::Jsonl => "metrics.jsonl",
        });
        let keep = |path: &Path| keep_before(path, format, first_step);
        keep(&path).map_err(TelemetryError::io(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(TelemetryError::io(&path))?;
        Ok(Self { path, file, format })
    }
}

impl Sink for LineFile {
    fn take(&mut self, point: &Point<'_>) -> Result<(), TelemetryError> {
        let Some(line) = line_of(self.format, point) else { return Ok(()) };
        self.file.write_all(line.as_bytes()).map_err(TelemetryError::io(&self.path))
    }
}

/// Writes the file anew with the lines before a step.
fn keep_before(path: &Path, format: LineFormat, first_step: u64) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut kept = BufWriter::new(File::create(&partial)?);
    if format == LineFormat::Csv {
        kept.write_all(HEADER.as_bytes())?;
    }
    match File::open(path) {
        Ok(file) => {
            let mut reader = BufReader::new(file);
            let mut line = String::new();
            while reader.read_line(&mut line)? > 0 {
                if line.ends_with('\n') && step_of(format, &line).is_some_and(|step| step < first_step) {
                    kept.write_all(line.as_bytes())?;
                }
                line.clear();
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    kept.flush()?;
    std::fs::rename(partial, path)
}

/// The step of a line; none where it is no point.
fn step_of(format: LineFormat, line: &str) -> Option<u64> {
    match format {
        LineFormat::Csv => line.split(',').nth(1)?.parse().ok(),
        LineFormat::Jsonl => serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64(),
    }
}

/// A point as a line; none where the format has no place for it.
fn line_of(format: LineFormat, point: &Point<'_>) -> Option<String> {
    let Point { at_millis, step, value } = *point;
    Some(match (format, value) {
        (LineFormat::Csv, PointValue::Metric(name, value)) => {
            format!("{at_millis},{step},{},{value}\n", quoted(name))
        }
        (LineFormat::Csv, PointValue::Sample(..)) => return None,
        (LineFormat::Jsonl, PointValue::Metric(name, value)) => {
            format!("{}\n", json!({"at_millis": at_millis, "step": step, "name": name, "value": value}))
        }
        (LineFormat::Jsonl, PointValue::Sample(prompt, text)) => {
            format!("{}\n", json!({"at_millis": at_millis, "step": step, "prompt": prompt, "text": text}))
        }
    })
}

/// A CSV field (RFC 4180).
fn quoted(field: &str) -> std::borrow::Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\"")).into()
    } else {
        field.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(step: u64, name: &str, value: f64) -> Point<'_> {
        Point { at_millis: 7, step, value: PointValue::Metric(name, value) }
    }

    #[test]
    fn an_attempt_that_goes_on_leaves_no_step_twice_and_no_torn_line() {
        for format in [LineFormat::Csv, LineFormat::Jsonl] {
            let folder = tempfile::tempdir().unwrap();
            let mut first = LineFile::open(folder.path(), format, 0).unwrap();
            for step in 0..5 {
                first.take(&metric(step, "loss", step as f64 + 0.5)).unwrap();
            }
            let path = first.path.clone();
            let torn = "1000,2,lo";
            first.file.write_all(torn.as_bytes()).unwrap();
            let mut second = LineFile::open(folder.path(), format, 3).unwrap();
            second.take(&metric(3, "loss", -1.0)).unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            let steps: Vec<u64> = text.lines().filter_map(|line| step_of(format, line)).collect();
            assert_eq!(steps, [0, 1, 2, 3], "{text}");
            assert!(!text.contains(torn), "{text}");
        }
    }

    #[test]
    fn a_name_with_a_comma_is_one_field_and_a_nan_is_null_in_json() {
        let csv = line_of(LineFormat::Csv, &metric(2, "epochs.a,\"b\"", f64::NAN)).unwrap();
        assert_eq!(csv, "7,2,\"epochs.a,\"\"b\"\"\",NaN\n");
        let json = line_of(LineFormat::Jsonl, &metric(2, "loss", f64::NAN)).unwrap();
        assert_eq!(json, "{\"at_millis\":7,\"step\":2,\"name\":\"loss\",\"value\":null}\n");
    }
}
