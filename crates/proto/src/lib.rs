//! The protocol buffers of kvorum and the conversions to its own types.
