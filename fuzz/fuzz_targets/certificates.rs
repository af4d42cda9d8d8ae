//! See `dunlin_hostile::certificates`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::certificates(data));
