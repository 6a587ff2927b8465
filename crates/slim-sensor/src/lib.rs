//! slim-sensor.
