//! placeholder
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/clipfleet.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/clipfleet.v1.serde.rs"));
}
