//! What every test needs: a broker, a client, and a notation for bytes.

pub(crate) mod bystander;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod descriptors;
pub(crate) mod gateway;
pub(crate) mod hex;
pub(crate) mod packet;
pub(crate) mod port;
pub(crate) mod properties;
pub(crate) mod reader;
pub(crate) mod tls;
pub(crate) mod websocket;

pub(crate) use bystander::Bystander;
pub(crate) use client::TestClient;
pub(crate) use descriptors::allow_descriptors;
pub(crate) use gateway::TestGateway;
pub(crate) use packet::{Connect, Publish, Received, V3_1, V3_1_1, V5, Version, Will};
pub(crate) use port::{free_port, taken_port};
pub(crate) use properties as property;
