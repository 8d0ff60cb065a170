//! The descriptors of all services.

use prost::Message;
use prost_types::FileDescriptorSet;

/// The encoded `FileDescriptorSet` of every service in this crate.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every method of an encoded `FileDescriptorSet` as (`/package.Service/Method`, `Method`), in the
/// order of the files: the closed set of names under which calls are counted.
///
/// # Errors
/// Only if the descriptors are broken.
pub fn methods(descriptors: &[u8]) -> Result<Vec<(String, String)>, prost::DecodeError> {
    let set = FileDescriptorSet::decode(descriptors)?;
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.push((path, method.name().to_owned()));
            }
        }
    }
    Ok(methods)
}

#[cfg(test)]
mod tests;
