//! Compiles the C++ shim against the headers of libtorch, and writes libtorch's folder into the run path of this crate's binaries and
//! tests, whatever the target folder is.

use std::path::PathBuf;

const SOURCES: [&str; 5] =
    ["optimiser.cpp", "context.cpp", "autograd.cpp", "memory.cpp", "process_group.cpp"];
const HEADERS: [&str; 6] = [
    "guard.h",
    "gloo/algorithm.h",
    "gloo/context.h",
    "gloo/common/error.h",
    "gloo/rendezvous/store.h",
    "gloo/transport/device.h",
];

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    for file in SOURCES.iter().chain(&HEADERS) {
        println!("cargo:rerun-if-changed=shim/{file}");
    }
    let libtorch = PathBuf::from(std::env::var("LIBTORCH").unwrap_or_else(|_| "/usr".to_owned()));
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}/lib", libtorch.display());
    compile(&libtorch.join("include"));
}

/// As torch-sys compiles its own: the same standard and the same string type, since both pass tensors to each other.
fn compile(headers: &std::path::Path) {
    assert!(
        headers.join("ATen/core/Tensor.h").exists(),
        "{} holds no headers of libtorch: deploy/fetch-libtorch.sh fetches it, and LIBTORCH names its folder",
        headers.display()
    );
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).opt_level(2).debug(false).warnings(false);
    build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str()).define("AT_PER_OPERATOR_HEADERS", None);
    build.include("shim").include(headers).include(headers.join("torch/csrc/api/include"));
    build.files(SOURCES.iter().map(|file| format!("shim/{file}"))).compile("cupola_shim");
}
