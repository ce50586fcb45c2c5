//! A call from Rust: a recording is spoken in real time, Moshi's text and voice come back.
//!
//!     converse HOST:PORT RECORDING.wav REPLY.wav

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

mod v1 {
    tonic::include_proto!("moshi_cluster.v1");
}
use v1::gateway_client::GatewayClient;
use v1::{
    converse_request, converse_response, Audio, AudioFormat, ConverseRequest, Encoding, Start,
};

const PACKET: Duration = Duration::from_millis(20);
const TRIES: u32 = 5;
const HEADER_BYTES: usize = 44; // of a WAV file that holds samples and nothing else

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, recording, reply] = arguments.as_slice() else {
        return Err("usage: converse HOST:PORT RECORDING.wav REPLY.wav".into());
    };
    let mut wav = std::fs::read(recording)?;
    if wav.len() < HEADER_BYTES || &wav[36..40] != b"data" || wav[22] != 1 || wav[34] != 16 {
        return Err(
            format!("{recording}: must be a plain WAV file, mono, with samples of 16 bit").into(),
        );
    }
    let rate_hz = u32::from_le_bytes(wav[24..28].try_into()?);
    let voice = wav.split_off(HEADER_BYTES);
    let channel = Endpoint::from_shared(format!("http://{target}"))?
        // A peer that has died without a word is noticed, and no router between forgets a connection that is silent.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .connect()
        .await?;
    let audio = patient_call(&mut GatewayClient::new(channel), &voice, rate_hz).await?;
    // The reply comes in the recording's format, so the header serves again, with other lengths.
    wav[4..8].copy_from_slice(&((HEADER_BYTES - 8 + audio.len()) as u32).to_le_bytes());
    wav[40..44].copy_from_slice(&(audio.len() as u32).to_le_bytes());
    wav.extend(audio);
    Ok(std::fs::write(reply, wav)?)
}

/// Calls again, after as long as the gateway asks for, when it says that this may help.
async fn patient_call(
    gateway: &mut GatewayClient<Channel>,
    voice: &[u8],
    rate_hz: u32,
) -> Result<Vec<u8>, Status> {
    for _ in 1..TRIES {
        let status = match call(gateway, voice, rate_hz).await {
            Ok(reply) => return Ok(reply),
            Err(status) => status,
        };
        // google.rpc.RetryInfo; none where calling again is no help.
        let Some(delay) = status
            .get_details_retry_info()
            .and_then(|retry| retry.retry_delay)
        else {
            return Err(status);
        };
        eprintln!("{}: trying again in {delay:?}", status.message());
        tokio::time::sleep(delay).await;
    }
    call(gateway, voice, rate_hz).await
}

/// One call, from `start` to `ended`; the reply's samples, in the format of the recording.
async fn call(
    gateway: &mut GatewayClient<Channel>,
    voice: &[u8],
    rate_hz: u32,
) -> Result<Vec<u8>, Status> {
    use converse_response::Message;

    let (requests, receiver) = mpsc::channel(1);
    let input_format = AudioFormat {
        encoding: Encoding::PcmS16le.into(),
        sample_rate_hz: rate_hz,
    };
    let start = Start {
        input_format: Some(input_format),
        ..Default::default()
    };
    let _ = requests.try_send(request(converse_request::Message::Start(start))); // there is room for one
    let mut outgoing = Request::new(ReceiverStream::new(receiver));
    // No call lasts for ever, whatever happens to the network.
    outgoing.set_timeout(Duration::from_secs(
        30 + voice.len() as u64 / 2 / u64::from(rate_hz),
    ));
    let mut replies = gateway.converse(outgoing).await?.into_inner();

    let (mut requests, mut reply) = (Some(requests), Vec::new());
    while let Some(message) = replies.message().await? {
        match message.message {
            Some(Message::Started(started)) => {
                eprintln!("call {}", started.session_id);
                // The voice goes out beside this loop. Once it has the sender, the end of the voice is the end of ours.
                requests
                    .take()
                    .map(|requests| tokio::spawn(speak(requests, voice.to_vec(), rate_hz)));
            }
            Some(Message::Text(text)) => {
                print!("{}", text.piece);
                let _ = std::io::stdout().flush();
            }
            Some(Message::Audio(audio)) => reply.extend(audio.data),
            // Silence filled in, frames dropped, the gateway about to stop, …
            Some(Message::Event(event)) => {
                let kind = event.kind().as_str_name();
                eprintln!("[{kind} {} {}]", event.frames, event.detail)
            }
            Some(Message::Ended(ended)) => {
                eprintln!(
                    "\nended after {} frames",
                    ended.counters.unwrap_or_default().frames_out
                )
            }
            None => {} // of a newer gateway
        }
    }
    Ok(reply)
}

/// Sends the voice and hangs up; what is on its way is still answered.
async fn speak(requests: mpsc::Sender<ConverseRequest>, voice: Vec<u8>, rate_hz: u32) {
    // Each packet has a time of its own: one that is late does not delay those behind it.
    let mut clock = tokio::time::interval(PACKET);
    let packet_samples = rate_hz as usize * PACKET.as_millis() as usize / 1000;
    for packet in voice.chunks(2 * packet_samples) {
        clock.tick().await;
        let audio = Audio {
            data: packet.to_vec(),
        };
        if requests
            .send(request(converse_request::Message::Audio(audio)))
            .await
            .is_err()
        {
            return; // the call is over, and reading says why
        }
    }
}

fn request(message: converse_request::Message) -> ConverseRequest {
    ConverseRequest {
        message: Some(message),
    }
}
