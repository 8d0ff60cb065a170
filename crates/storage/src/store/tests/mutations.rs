//! Each rule, left out, is noticed: otherwise the tests would not test it.
