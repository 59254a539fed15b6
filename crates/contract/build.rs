//! Compiles the contract in `proto/` to Rust types with their proto-JSON form; pure Rust, no `protoc`.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 5] = ["batch", "job", "event", "status", "pipeline"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = FILES.map(|name| format!("clipfleet/v1/{name}.proto"));
    let descriptors = protox::compile(files, [&root])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptor_file = out.join("descriptors.bin");
    fs::write(&descriptor_file, descriptors.encode_to_vec())?;

    prost_build::Config::new()
        .bytes(["."])
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&fs::read(&descriptor_file)?)?.build(&[".clipfleet.v1"])?;
    Ok(())
}
