//! `cupola report`.

use std::path::PathBuf;

use clap::Args;

use super::apply::display_path;
use super::{CliError, Global, Outcome};
use crate::promote::{PromotionBook, run_line};
use crate::report::{ReportOptions, write_run_report};
use crate::state::{StateDir, load_run, now_millis, read_state};

/// Arguments of `cupola report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run; the newest where none is given.
    pub run: Option<String>,
    /// The folder for `report.html` and `report.md`; the run's own where none is given.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Price of a device for an hour, US dollars; the spec's where none is given.
    #[arg(long, value_name = "USD")]
    pub usd_per_device_hour: Option<f64>,
    /// Prints only the headline results.
    #[arg(long)]
    pub short: bool,
}

/// Writes the report card of a run again and prints it.
pub(super) fn run(args: &ReportArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    let wanted = args.run.as_deref();
    let projection = read_state(&dir)?;
    let view = load_run(&projection, wanted)?.ok_or_else(|| match wanted {
        Some(run) => CliError::input(format!("there is no run `{run}`"), "`cupola get runs` lists them"),
        None => CliError::input("there is no run yet", "`cupola apply SPEC` makes one"),
    })?;
    let folder = args.out.clone().unwrap_or_else(|| dir.run(&view.id));
    let options = ReportOptions {
        usd_per_device_hour: args.usd_per_device_hour.unwrap_or_else(|| price(&dir, &view.id)),
        now_millis: now_millis(),
        served: run_line(&PromotionBook::of(&projection), &view.id),
    };
    let files = write_run_report(&view, &options, &folder)?;
    if global.json {
        let lines: Vec<_> = files
            .headlines
            .iter()
            .map(|line| {
                serde_json::json!({
                    "title": line.title, "value": line.value, "detail": line.detail, "verdict": line.verdict.as_str(),
                })
            })
            .collect();
        let report = serde_json::json!({
            "run": view.id, "html": files.html, "markdown": files.markdown, "headlines": lines,
        });
        println!("{report:#}");
    } else {
        if args.short {
            files.headlines.iter().for_each(|headline| println!("{}", headline.line()));
        } else {
            println!("{}", files.text);
        }
        println!("page: {}", display_path(&files.html));
    }
    Ok(Outcome::Done)
}

/// The price that the run's spec states; 0 where it states none or was not saved.
fn price(dir: &StateDir, run: &str) -> f64 {
    let text = std::fs::read(dir.run(run).join("spec.json")).unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    spec["budget"]["usd_per_device_hour"].as_f64().unwrap_or(0.0)
}
