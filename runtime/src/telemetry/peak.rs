//! The peak of a device: what MFU is a share of.
//!
//! Data sheets state tensor-core figures with 2:4 sparsity; the ones here are the dense ones. Sources: NVIDIA's data sheets "H100 Tensor Core
//! GPU" (SXM, PCIe, NVL), "H200 Tensor Core GPU" (SXM, NVL), "A100 Tensor Core GPU", "L4 Tensor Core GPU", "L40S GPU"; the white papers
//! "NVIDIA Ada GPU Architecture" (RTX 4090) and "NVIDIA Ampere GA102 GPU Architecture" (RTX 3090). fp32 is the figure without tensor cores;
//! where a process lets fp32 products be made in TF32, the one of TF32 counts.

use std::time::{Duration, Instant};

use cupola_kernels::{Float32Matmul, cuda_name, float32_matmul};
use cupola_specs::job::Precision;
use tch::{Cuda, Device, Kind, Tensor};

/// What a number format reaches, TFLOP/s.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    /// bf16 with fp32 sums, dense.
    bf16: f64,
    /// TF32, dense.
    tf32: f64,
    /// fp32 without tensor cores.
    fp32: f64,
}

const fn figures(bf16: f64, tf32: f64, fp32: f64) -> Figures {
    Figures { bf16, tf32, fp32 }
}

/// GPUs by words of their name, all of which must be there. The first that fits counts.
const GPUS: &[(&[&str], Figures)] = &[
    (&["H100", "PCIe"], figures(756.0, 378.0, 51.2)),
    (&["H100", "NVL"], figures(835.5, 417.5, 60.0)),
    (&["H100"], figures(989.4, 494.7, 66.9)),
    (&["H200", "NVL"], figures(835.5, 417.5, 60.0)),
    (&["H200"], figures(989.4, 494.7, 66.9)),
    (&["A100"], figures(312.0, 156.0, 19.5)),
    (&["L40S"], figures(362.05, 183.0, 91.6)),
    (&["L4"], figures(121.0, 60.0, 30.3)),
    (&["RTX 4090"], figures(165.2, 82.6, 82.6)),
    (&["RTX 3090"], figures(71.0, 35.6, 35.6)),
];
/// Time that a measurement takes.
const MEASURED_SECS: f64 = 0.2;

/// What a device can do at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// FLOP/s.
    pub flops: f64,
    /// Where the figure is from, in words.
    pub source: String,
}

impl Peak {
    /// The user's figure, the data sheet's, or what a product of two matrices reaches here.
    pub fn find(device: Device, precision: Precision, given: Option<f64>) -> Result<Self, tch::TchError> {
        if let Some(flops) = given {
            return Ok(Self { flops, source: "given by `telemetry.peak_flops`".to_owned() });
        }
        if let Device::Cuda(index) = device
            && let Ok(name) = cuda_name(index)
            && let Some(figures) = of_data_sheet(&name)
        {
            let (flops, format) = match (precision, float32_matmul()) {
                (Precision::Bf16, _) => (figures.bf16, "bf16"),
                (_, Float32Matmul::Tf32) => (figures.tf32, "TF32"),
                (_, Float32Matmul::Full) => (figures.fp32, "fp32"),
            };
            let source = format!("data sheet of the {name}, {format}, dense");
            return Ok(Self { flops: 1e12 * flops, source });
        }
        measure(device, precision)
    }
}

/// The data sheet's figures for a device of this name.
fn of_data_sheet(name: &str) -> Option<Figures> {
    // `L4` is a part of other names.
    let has = |word: &str| match word {
        "L4" => name.split_whitespace().any(|part| part == word),
        _ => name.contains(word),
    };
    GPUS.iter().find(|(words, _)| words.iter().all(|word| has(word))).map(|(_, figures)| *figures)
}

fn word(precision: Precision) -> &'static str {
    if precision == Precision::Bf16 { "bf16" } else { "fp32" }
}

/// The best of some products of two square matrices, in the number format of the run and with its threads.
fn measure(device: Device, precision: Precision) -> Result<Peak, tch::TchError> {
    let size: i64 = if device == Device::Cpu { 1024 } else { 8192 };
    let kind = if precision == Precision::Bf16 { Kind::BFloat16 } else { Kind::Float };
    let flops = 2.0 * (size as f64).powi(3);
    let best = tch::no_grad(|| -> Result<Duration, tch::TchError> {
        let a = Tensor::f_ones([size, size], (kind, device))?; // [N, N]
        let mut best = Duration::MAX;
        let begin = Instant::now();
        // The first product makes threads and memory ready.
        for count in 0.. {
            synchronize(device);
            let one = Instant::now();
            let _ = a.f_matmul(&a)?; // [N, N]
            synchronize(device);
            if count > 0 {
                best = best.min(one.elapsed());
            }
            if count > 1 && begin.elapsed().as_secs_f64() > MEASURED_SECS {
                break;
            }
        }
        Ok(best)
    })?;
    let source = format!("measured: a product of two matrices of {size} × {size}, {}", word(precision));
    Ok(Peak { flops: flops / best.as_secs_f64(), source })
}

pub(super) fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_driver_says_them_find_their_data_sheet() {
        for (name, expected) in [
            ("NVIDIA H100 80GB HBM3", figures(989.4, 494.7, 66.9)),
            ("NVIDIA H100 PCIe", figures(756.0, 378.0, 51.2)),
            ("NVIDIA H100 NVL", figures(835.5, 417.5, 60.0)),
            ("NVIDIA H200", figures(989.4, 494.7, 66.9)),
            ("NVIDIA A100-SXM4-40GB", figures(312.0, 156.0, 19.5)),
            ("NVIDIA L4", figures(121.0, 60.0, 30.3)),
            ("NVIDIA L40S", figures(362.05, 183.0, 91.6)),
            ("NVIDIA GeForce RTX 4090", figures(165.2, 82.6, 82.6)),
        ] {
            assert_eq!(of_data_sheet(name), Some(expected), "{name}");
        }
        assert_eq!(of_data_sheet("NVIDIA L400"), None);
        assert_eq!(of_data_sheet("Tesla V100-SXM2-16GB"), None);
    }

    #[test]
    fn what_the_user_gives_counts_and_a_measurement_is_plausible() {
        let given = Peak::find(Device::Cpu, Precision::Fp32, Some(1e12)).unwrap();
        assert!((given.flops - 1e12).abs() < 1.0);
        let measured = Peak::find(Device::Cpu, Precision::Fp32, None).unwrap();
        assert!((1e8..1e14).contains(&measured.flops), "{measured:?}");
        assert!(measured.source.starts_with("measured"), "{measured:?}");
    }
}
