//! Rust code for the contract; protoc must be on the PATH.

const PROTOS: &str = "../../../protos";

fn main() -> std::io::Result<()> {
    let gateway = format!("{PROTOS}/moshi_cluster/v1/gateway.proto");
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&[gateway.as_str()], &[PROTOS])
}
