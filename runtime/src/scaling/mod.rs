//! `kind: scaling`: small runs over sizes and token budgets, the laws fitted to them, and forecasts written before the big run.
//!
//! Hoffmann et al., Training Compute-Optimal Large Language Models (2022, arXiv:2203.15556), approaches 1 to 3; the fit of the
//! third as repaired by Besiroglu et al., Chinchilla Scaling: A Replication Attempt (2024, arXiv:2404.10102): the sum of the Huber
//! losses, minimised to the end. Sizes for much inference: Sardana et al., Beyond Chinchilla-Optimal (2023, arXiv:2401.00448).
//!
//! * `minimize`: BFGS for a handful of parameters.
//! * `sum_law`: L = E + Σ Aᵢ/xᵢ^γᵢ, fitted robustly to the logarithm of the loss, with bootstrap draws.
//! * `parametric`, `envelope`, `isoflop`: the three methods, from runs to [`LawFit`](cupola_specs::artifact::LawFit).
//! * [`forecast()`]: a law at a size and a token count, with a 95 % prediction interval.
//! * `recommend`: the size and token count for a target.
//! * [`sweep_job`] trains the runs of one shape, [`fit_job`] fits every sweep; `plot` draws them.
//!
//! Invariants: the same runs give the same bits in `law.json`; a fit that its points don't support says so in its caveats; an
//! interval never is narrower than the noise between two runs of the same size.

mod minimize;
mod sum_law;

mod fitting;
mod points;

mod envelope;
mod frontier;
mod isoflop;
mod parametric;

mod error;
pub mod fit_job;
mod forecast;
#[cfg(test)]
mod invented;
mod plot;
mod recommend;
pub mod sweep_job;

pub use error::ScalingError;
pub use forecast::forecast;
