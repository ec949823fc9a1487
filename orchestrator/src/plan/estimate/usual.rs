//! The rates of a usual core, for the proportions between steps where a machine's own were not measured: one core of a server of 2023 with AMX, as
//! `cupola-worker rates cpu fp32 1` and `bf16 1` told them. No time comes from them alone.

use std::sync::LazyLock;

use cupola_specs::contract::{AttentionRate, MachineRates, RateAt, RecurrentRate};
use cupola_specs::job::Precision;

/// The rates for a number format.
pub(super) fn rates(precision: Precision) -> &'static MachineRates {
    static FP32: LazyLock<MachineRates> = LazyLock::new(fp32);
    static BF16: LazyLock<MachineRates> = LazyLock::new(bf16);
    if precision == Precision::Bf16 { &BF16 } else { &FP32 }
}

fn list(rates: &[(f64, f64)]) -> Vec<RateAt> {
    rates.iter().map(|(size, rate)| RateAt { size: *size, rate: *rate }).collect()
}

fn attention(rates: &[(f64, f64, f64)]) -> Vec<AttentionRate> {
    let rate = |(head_dim, row_tokens, rate): &(f64, f64, f64)| AttentionRate {
        head_dim: *head_dim,
        row_tokens: *row_tokens,
        rate: *rate,
    };
    rates.iter().map(rate).collect()
}

fn recurrent(rates: &[(f64, f64, f64)]) -> Vec<RecurrentRate> {
    let rate =
        |(width, rows, rate): &(f64, f64, f64)| RecurrentRate { width: *width, rows: *rows, rate: *rate };
    rates.iter().map(rate).collect()
}

fn fp32() -> MachineRates {
    MachineRates {
        products: list(&[
            (32.0, 1.7e+11),
            (64.0, 1.62e+11),
            (128.0, 1.61e+11),
            (256.0, 1.61e+11),
            (512.0, 1.07e+11),
            (1024.0, 1.56e+11),
        ]),
        gradients: list(&[
            (32.0, 1.76e+11),
            (64.0, 1.55e+11),
            (128.0, 1.48e+11),
            (256.0, 1.47e+11),
            (512.0, 1.47e+11),
            (1024.0, 1.47e+11),
        ]),
        streams: list(&[
            (262_144.0, 1.27e+11),
            (2.09715e+06, 2.56e+10),
            (1.67772e+07, 2.66e+10),
            (6.71089e+07, 1.35e+10),
        ]),
        losses: list(&[(1024.0, 3.51e+08), (8192.0, 4.18e+08)]),
        activations: list(&[(524_288.0, 4.1e+08), (4.1943e+06, 3.18e+08)]),
        attention: attention(&[
            (16.0, 64.0, 1.93e+10),
            (16.0, 256.0, 1.49e+10),
            (16.0, 1024.0, 4.49e+10),
            (32.0, 64.0, 2.67e+10),
            (32.0, 256.0, 3.83e+10),
            (32.0, 1024.0, 5.73e+10),
            (64.0, 64.0, 2.97e+10),
            (64.0, 256.0, 4.3e+10),
            (64.0, 1024.0, 6.54e+10),
        ]),
        recurrent: recurrent(&[
            (64.0, 4.0, 2.87e+10),
            (64.0, 16.0, 7.18e+10),
            (256.0, 4.0, 7.94e+10),
            (256.0, 16.0, 1.15e+11),
            (512.0, 4.0, 3.91e+10),
            (512.0, 16.0, 6.02e+10),
        ]),
        operation_secs: 2.93e-06,
    }
}

fn bf16() -> MachineRates {
    MachineRates {
        products: list(&[
            (32.0, 1.99e+11),
            (64.0, 5.35e+11),
            (128.0, 8.32e+11),
            (256.0, 9.58e+11),
            (512.0, 1.14e+12),
            (1024.0, 7.87e+11),
        ]),
        gradients: list(&[
            (32.0, 1.81e+11),
            (64.0, 5.29e+11),
            (128.0, 8.16e+11),
            (256.0, 7.27e+11),
            (512.0, 7.2e+11),
            (1024.0, 6.53e+11),
        ]),
        streams: list(&[
            (262_144.0, 1.23e+11),
            (2.09715e+06, 2.61e+10),
            (1.67772e+07, 2.79e+10),
            (6.71089e+07, 1.31e+10),
        ]),
        losses: list(&[(1024.0, 3.97e+08), (8192.0, 4.4e+08)]),
        activations: list(&[(524_288.0, 4.03e+08), (4.1943e+06, 3.13e+08)]),
        attention: attention(&[
            (16.0, 64.0, 2.06e+09),
            (16.0, 256.0, 1.14e+10),
            (16.0, 1024.0, 3.14e+10),
            (32.0, 64.0, 4.18e+09),
            (32.0, 256.0, 2.4e+10),
            (32.0, 1024.0, 5.81e+10),
            (64.0, 64.0, 8.58e+09),
            (64.0, 256.0, 4.08e+10),
            (64.0, 1024.0, 1e+11),
        ]),
        recurrent: recurrent(&[
            (64.0, 4.0, 4.18e+10),
            (64.0, 16.0, 1.15e+11),
            (256.0, 4.0, 5.99e+10),
            (256.0, 16.0, 1.85e+11),
            (512.0, 4.0, 4.79e+10),
            (512.0, 16.0, 1.63e+11),
        ]),
        operation_secs: 2.9e-06,
    }
}
