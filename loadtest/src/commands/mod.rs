//! One file for each measurement: what is done, in which order, and what is told of it.

pub(crate) mod compare;
pub(crate) mod experiment;
pub(crate) mod footprint;
pub(crate) mod hang;
pub(crate) mod ops;
pub(crate) mod repair;
pub(crate) mod set;
