//! A group of replicas in a world of one seed, and what must hold of it.

mod copies;
mod histories;
mod hostile;
mod leadership;
mod leases;
mod linear;
mod scripts;
mod sessions;
mod world;
