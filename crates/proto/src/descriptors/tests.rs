//! The wire contract: names and field numbers that programs of others rely on.

use super::*;
use prost_types::field_descriptor_proto::Type;

fn files() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).unwrap()
}

/// The fields of a message as `number name type`, one per line.
fn fields(package: &str, message: &str) -> String {
    let set = files();
    let file = set.file.iter().find(|file| {
        file.package() == package && file.message_type.iter().any(|m| m.name() == message)
    });
    let file = file.unwrap_or_else(|| panic!("no message {package}.{message}"));
    let message = file.message_type.iter().find(|m| m.name() == message).unwrap();
    let line = |field: &prost_types::FieldDescriptorProto| {
        let kind = match field.r#type() {
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Bool => "bool",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Message => field.type_name(),
            other => panic!("{other:?}"),
        };
        let repeated = if field.label() == prost_types::field_descriptor_proto::Label::Repeated {
            "repeated "
        } else {
            ""
        };
        format!("{}={} {repeated}{kind}", field.number(), field.name())
    };
    message.field.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn messages_of_the_reference_systems_keep_their_field_numbers() {
    let expected = [
        ("PutRequest", "1=key string, 2=value string, 3=modified_at int64"),
        ("PutResponse", "1=ok bool, 2=message string"),
        ("GetRequest", "1=key string"),
        ("GetResponse", "1=value string, 2=found bool, 3=modified_at int64, 4=own_id string"),
        ("DeleteRequest", "1=key string"),
        ("DeleteResponse", ""),
        ("GetNRequest", "1=key string, 2=n int32"),
        ("GetNResponse", "1=nodes repeated string"),
        ("HealthRequest", ""),
        ("HealthResponse", "1=node_name string, 2=key_count int64"),
        ("ChunkRequest", "1=chunk_id int32"),
        ("ChunkHashResponse", "1=hash bytes"),
        ("RangeRequest", "1=chunk_id int32"),
        ("KeyValuePair", "1=key string, 2=value string, 3=modified_at int64"),
        ("VersionedPair", "1=key string, 2=value string, 3=version int32"),
        ("ReplicateRequest", "1=kv .kv.VersionedPair, 2=from_node string"),
        ("ReplicateResponse", "1=ok bool, 2=message string"),
        ("StreamBucketRequest", "1=bucket_id int32, 2=start int32, 3=limit int32"),
        ("StreamKV", "1=kv .kv.VersionedPair"),
    ];
    for (message, shape) in expected {
        assert_eq!(fields("kv", message), shape, "{message}");
    }
}

#[test]
fn every_promised_method_exists() {
    let methods: Vec<String> =
        methods(DESCRIPTORS).unwrap().into_iter().map(|(path, _)| path).collect();
    for promised in [
        "/kv.KeyValue/Put",
        "/kv.KeyValue/Get",
        "/kv.KeyValue/Replicate",
        "/kv.KeyValue/GetChunkHash",
        "/kv.KeyValue/FetchRange",
        "/kv.KVStore/Get",
        "/kv.KVStore/Put",
        "/kv.KVStore/Delete",
        "/kv.KVStore/GetN",
        "/kv.KVStore/Health",
        "/kv.Replicator/Replicate",
        "/kv.Replicator/StreamBucket",
        "/kvorum.v1.Kv/Get",
        "/kvorum.v1.Kv/Put",
        "/kvorum.v1.Kv/Delete",
        "/kvorum.v1.Kv/Batch",
        "/kvorum.v1.Kv/Scan",
        "/kvorum.v1.Kv/Txn",
        "/kvorum.v1.Kv/Watch",
        "/kvorum.v1.Admin/Status",
        "/kvorum.peer.v1.Introduction/Hello",
    ] {
        assert!(methods.iter().any(|method| method == promised), "{promised}");
    }
}

#[test]
fn streams_are_streams_where_the_contract_says_so() {
    let set = files();
    let streaming: Vec<&str> = set
        .file
        .iter()
        .filter(|file| file.package() != "kvorum.peer.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| &service.method)
        .filter(|method| method.server_streaming() || method.client_streaming())
        .map(|method| method.name())
        .collect();
    assert_eq!(streaming, ["FetchRange", "StreamBucket", "Scan", "Watch"]);
}
