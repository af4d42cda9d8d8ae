//! See `dunlin_hostile::server_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::server_config(data));
