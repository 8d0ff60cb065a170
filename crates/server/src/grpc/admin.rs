//! `kvorum.v1.Admin`.

mod repair;

use kvorum_core::{Keyspace, Layout, Mono, NodeId, PartitionId};
use kvorum_node::{Led, NodeStatus, Serving, Status, Waiting};
use kvorum_proto::kvorum::v1;
use kvorum_proto::kvorum::v1::admin_server::Admin;
use tonic::{Request, Response};

use super::Answered;
use super::caller::Gate;
use super::status::refuse;

/// The service.
#[derive(Debug)]
pub struct AdminService {
    gate: Gate,
}

impl AdminService {
    pub fn new(gate: Gate) -> AdminService {
        AdminService { gate }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answered<v1::StatusResponse> {
        let status = self.gate.data.status();
        let (serving, detail, rebuilding) = match &status.serving {
            Serving::No(why) => (false, why.clone(), 0),
            Serving::Rebuilding(count) => {
                (true, format!("{count} partitions are still copied from other nodes"), *count)
            }
            Serving::Yes => (true, String::new(), 0),
        };
        Ok(Response::new(v1::StatusResponse {
            node_id: status.id.get(),
            serving,
            detail,
            rebuilding_partitions: number(rebuilding),
            replication_factor: number(status.replication_factor),
            started_s: status.started_s,
            keys: status.keys,
            disk_bytes: status.disk_bytes,
            index_bytes: status.index_bytes,
            index_limit_bytes: status.index_limit_bytes,
            pending_requests: number(status.pending_requests),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            leads: status.leads().iter().map(led).collect(),
            waiting: status.nodes.iter().filter_map(waiting).collect(),
        }))
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Answered<v1::ListNodesResponse> {
        let nodes = self.gate.data.status().nodes.iter().map(node).collect();
        Ok(Response::new(v1::ListNodesResponse { nodes }))
    }

    async fn list_keyspaces(
        &self,
        _: Request<v1::ListKeyspacesRequest>,
    ) -> Answered<v1::ListKeyspacesResponse> {
        let layout = self.gate.data.layout().map_err(refuse)?;
        let keyspaces = layout.keyspaces().iter().map(|one| keyspace(&layout, one)).collect();
        Ok(Response::new(v1::ListKeyspacesResponse { keyspaces }))
    }

    async fn layout(&self, request: Request<v1::LayoutRequest>) -> Answered<v1::LayoutResponse> {
        let name = request.into_inner().keyspace;
        let (layout, id) = self.gate.data.keyspace(&name).map_err(refuse)?;
        let status = self.gate.data.status();
        let partitions = layout.partitions(id).filter_map(|one| partition(&layout, &status, one));
        let (version, partitions) = (layout.version(), partitions.collect());
        Ok(Response::new(v1::LayoutResponse { version, partitions }))
    }

    async fn route(&self, request: Request<v1::RouteRequest>) -> Answered<v1::RouteResponse> {
        let v1::RouteRequest { keyspace, key } = request.into_inner();
        let route = self.gate.data.route(&keyspace, &key).map_err(refuse)?;
        Ok(Response::new(v1::RouteResponse {
            slot: route.slot.get().into(),
            partition: route.partition.number.into(),
            layout_version: route.layout_version,
            replicas: route.replicas.iter().map(node).collect(),
            leader: route.leader.map_or(0, NodeId::get),
        }))
    }

    async fn repair_status(
        &self,
        request: Request<v1::RepairStatusRequest>,
    ) -> Answered<v1::RepairStatusResponse> {
        let v1::RepairStatusRequest { since, keyspace } = request.into_inner();
        let status = self.gate.data.repair_status(&keyspace, Mono(since)).map_err(refuse)?;
        Ok(Response::new(repair::status(status)))
    }

    async fn repair(&self, request: Request<v1::RepairRequest>) -> Answered<v1::RepairResponse> {
        let v1::RepairRequest { peer } = request.into_inner();
        let peer = Some(peer).filter(|peer| *peer > 0);
        let clock = self.gate.data.repair(peer).await.map_err(refuse)?;
        Ok(Response::new(v1::RepairResponse { clock: clock.0 }))
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn node(node: &NodeStatus) -> v1::Node {
    v1::Node {
        id: node.id.get(),
        name: node.name.clone(),
        host: node.advertised.host.clone(),
        resp_port: node.advertised.resp_port.into(),
        grpc_port: node.advertised.grpc_port.into(),
        http_port: node.advertised.http_port.into(),
        peer_port: node.advertised.peer_port.into(),
        up: node.up,
        heartbeat: node.heartbeat,
        last_seen_s: node.last_seen_s,
        leads: node.leads.iter().map(led).collect(),
        gossip_port: node.advertised.gossip_port.into(),
        state: node.standing.name().to_owned(),
        waiting: waiting(node),
    }
}

/// What waits for a node, if anything does.
fn waiting(node: &NodeStatus) -> Option<v1::Waiting> {
    let Waiting { keys, bytes, dirty_slots } = node.waiting;
    (node.waiting != Waiting::default()).then_some(v1::Waiting {
        node_id: node.id.get(),
        keys: keys as u64,
        bytes: bytes as u64,
        dirty_slots: number(dirty_slots),
    })
}

fn led(led: &Led) -> v1::Led {
    v1::Led { keyspace: led.keyspace.clone(), partitions: number(led.partitions) }
}

fn keyspace(layout: &Layout, keyspace: &Keyspace) -> v1::Keyspace {
    v1::Keyspace {
        id: keyspace.id.0,
        name: keyspace.name.clone(),
        mode: keyspace.mode.to_string(),
        read_consistency: keyspace.read.to_string(),
        write_consistency: keyspace.write.to_string(),
        partitions: number(layout.partitions(keyspace.id).count()),
    }
}

fn partition(layout: &Layout, status: &Status, partition: PartitionId) -> Option<v1::Partition> {
    let slots = layout.slots(partition)?;
    Some(v1::Partition {
        first_slot: slots.start().get().into(),
        last_slot: slots.end().get().into(),
        replicas: layout.replicas(partition).iter().copied().map(NodeId::get).collect(),
        leader: status.leader_of(partition).map_or(0, NodeId::get),
    })
}
