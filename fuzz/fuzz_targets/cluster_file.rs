//! See `dunlin_hostile::cluster_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::cluster_file(data));
