//! `cupola plan`.

use std::mem::ManuallyDrop;

use clap::Args;

use super::load::{SelectArgs, SpecArgs, prepare};
use super::{CliError, Global, Outcome, rates};
use crate::plan::{plan_json, render_plan, to_dot, to_svg};

/// Arguments of `cupola plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which spec.
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Which jobs.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Prints the graph in DOT instead: green is cached, blue runs, amber goes on at a checkpoint.
    #[arg(long)]
    pub dot: bool,
    /// Prints the graph as an SVG picture instead; of very many steps one box for each job.
    #[arg(long, conflicts_with = "dot")]
    pub svg: bool,
    /// Measures first how fast this machine trains, and runs a few passes of each training, where that is not known yet: some seconds each. The
    /// journal keeps it.
    #[arg(long)]
    pub measure: bool,
}

/// Shows what `apply` would run, what is cached, why, and what it takes.
pub(super) fn run(args: &PlanArgs, global: &Global) -> Result<Outcome, CliError> {
    // As in `apply`: the process ends after this.
    let mut prepared = ManuallyDrop::new(prepare(global, &args.spec, &args.select)?);
    if args.measure && rates::measure(global, &prepared)? {
        prepared = ManuallyDrop::new(prepare(global, &args.spec, &args.select)?);
    }
    if args.dot {
        print!("{}", to_dot(&prepared.plan, &prepared.decisions));
    } else if args.svg {
        print!("{}", to_svg(&prepared.plan, &prepared.decisions)?);
    } else if global.json {
        println!("{:#}", plan_json(&prepared.plan, &prepared.decisions, &prepared.estimate));
    } else {
        print!("{}", render_plan(&prepared.plan, &prepared.decisions, &prepared.estimate));
    }
    Ok(Outcome::Done)
}
