//! What a save leaves on the disk: when its process is killed, when the disk is full, when the folder may not be
//! written to, and when something special lies at the path. A save gives the complete new file, or the complete old one.

mod child;
mod full;
mod killed;
mod places;
mod versions;
