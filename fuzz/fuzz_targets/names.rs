//! See `dunlin_hostile::names`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::names(data));
