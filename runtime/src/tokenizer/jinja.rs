//! The Jinja environment of chat templates: what transformers gives them, in Python's words.

use jiff::Zoned;
use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// The environment: blocks are trimmed, texts have Python's methods, `tojson` writes as `json.dumps` does.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", to_json);
    environment
}

/// `strftime_now(format)` of transformers, by this clock.
pub(super) fn strftime(now: &Zoned) -> JinjaValue {
    let now = now.clone();
    JinjaValue::from_function(move |format: &str| {
        jiff::fmt::strtime::format(format, &now).map_err(|error| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}"))
        })
    })
}

/// `json.dumps(value, ensure_ascii=False, indent=…, sort_keys=…)`.
#[expect(clippy::needless_pass_by_value, reason = "the environment's way to call a filter")]
fn to_json(value: JinjaValue, options: Kwargs) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(failed(&"tojson with ensure_ascii=true is not supported"));
    }
    let mut value: Value = serde_json::to_value(&value).map_err(|error| failed(&error))?;
    if sorted == Some(true) {
        value.sort_all_objects();
    }
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let blanks = " ".repeat(width);
            let formatter = Python(PrettyFormatter::with_indent(blanks.as_bytes()));
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => {
            value.serialize(&mut Serializer::with_formatter(&mut bytes, Python(Spaced(CompactFormatter))))
        }
    };
    written.map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// Numbers as Python writes them, in a layout.
struct Python<F>(F);

/// One line, with a blank behind each comma and colon.
struct Spaced(CompactFormatter);

macro_rules! layout {
    ($($name:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $name<W: ?Sized + std::io::Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> std::io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for Python<F> {
    layout! {
        begin_array(), end_array(), begin_array_value(first: bool), end_array_value(), begin_object(), end_object(),
        begin_object_key(first: bool), end_object_key(), begin_object_value(), end_object_value(),
    }

    fn write_f64<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }
}

impl Formatter for Spaced {
    layout! { begin_array(), end_array(), begin_object(), end_object() }

    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `repr` of a float: the shortest digits, plain from 1e-4 to below 1e16, an exponent of at least two digits elsewhere.
fn python_float(value: f64) -> String {
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-1e300, "-1e+300"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }
}
