// A call from C++: a recording is spoken in real time, Moshi's text and voice come back.
//
//     converse HOST:PORT RECORDING.wav REPLY.wav
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "moshi_cluster/v1/gateway.grpc.pb.h"

using namespace std::chrono_literals;
using namespace moshi_cluster::v1;
using Stream = grpc::ClientReaderWriter<ConverseRequest, ConverseResponse>;

constexpr auto kPacket = 20ms;
constexpr int kTries = 5;
constexpr size_t kHeaderBytes = 44;  // of a WAV file that holds samples and nothing else

// Sends the voice and hangs up; what is on its way is still answered.
void Speak(Stream* stream, const std::string& voice, uint32_t rate_hz) {
  const size_t packet_bytes = 2 * (rate_hz * kPacket.count() / 1000);
  auto when = std::chrono::steady_clock::now();
  // Each packet has a time of its own: one that is late does not delay those behind it.
  for (size_t first = 0; first < voice.size(); first += packet_bytes, when += kPacket) {
    std::this_thread::sleep_until(when);
    ConverseRequest request;
    request.mutable_audio()->set_data(voice.substr(first, packet_bytes));
    if (!stream->Write(request)) return;  // the call is over, and Finish says why
  }
  stream->WritesDone();
}

// One call, from `start` to `ended`; the reply's samples are in the format of the recording.
grpc::Status Call(Gateway::Stub& gateway, const std::string& voice, uint32_t rate_hz, std::string* reply) {
  grpc::ClientContext context;
  // No call lasts for ever, whatever happens to the network.
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(voice.size() / 2 / rate_hz) + 30s);
  auto stream = gateway.Converse(&context);
  ConverseRequest request;
  request.mutable_start()->mutable_input_format()->set_encoding(ENCODING_PCM_S16LE);
  request.mutable_start()->mutable_input_format()->set_sample_rate_hz(rate_hz);
  stream->Write(request);

  std::thread speaker;  // one thread may write while another one reads
  ConverseResponse message;
  while (stream->Read(&message)) {
    switch (message.message_case()) {
      case ConverseResponse::kStarted:
        std::cerr << "call " << message.started().session_id() << std::endl;
        speaker = std::thread(Speak, stream.get(), std::ref(voice), rate_hz);
        break;
      case ConverseResponse::kText:
        std::cout << message.text().piece() << std::flush;
        break;
      case ConverseResponse::kAudio:
        reply->append(message.audio().data());
        break;
      case ConverseResponse::kEvent:  // silence filled in, frames dropped, the gateway about to stop, …
        std::cerr << "[" << Event::Kind_Name(message.event().kind()) << " " << message.event().frames() << " "
                  << message.event().detail() << "]" << std::endl;
        break;
      case ConverseResponse::kEnded:
        std::cerr << "\nended after " << message.ended().counters().frames_out() << " frames" << std::endl;
        break;
      default:  // of a newer gateway
        break;
    }
  }
  if (speaker.joinable()) speaker.join();
  return stream->Finish();
}

// The gateway's google.rpc.RetryInfo; nothing where calling again is no help.
std::optional<std::chrono::milliseconds> RetryDelay(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::RetryInfo retry;
  for (const auto& detail : details.details()) {
    if (!detail.UnpackTo(&retry)) continue;
    return std::chrono::milliseconds(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1000000);
  }
  return std::nullopt;
}

// Calls again, after as long as the gateway asks for, when it says that this may help.
grpc::Status PatientCall(Gateway::Stub& gateway, const std::string& voice, uint32_t rate_hz, std::string* reply) {
  for (int tried = 1;; tried++) {
    reply->clear();
    const grpc::Status status = Call(gateway, voice, rate_hz, reply);
    const auto delay = status.ok() ? std::nullopt : RetryDelay(status);
    if (!delay || tried == kTries) return status;
    std::cerr << status.error_message() << ": trying again in " << delay->count() << " ms" << std::endl;
    std::this_thread::sleep_for(*delay);
  }
}

int main(int count, char** arguments) {
  if (count != 4) {
    std::cerr << "usage: converse HOST:PORT RECORDING.wav REPLY.wav\n";
    return 2;
  }
  std::ifstream file(arguments[2], std::ios::binary);
  std::string wav{std::istreambuf_iterator<char>(file), {}};
  if (wav.size() < kHeaderBytes || wav.compare(36, 4, "data") != 0 || wav[22] != 1 || wav[34] != 16) {
    std::cerr << arguments[2] << ": must be a plain WAV file, mono, with samples of 16 bit\n";
    return 2;
  }
  uint32_t rate_hz;
  std::memcpy(&rate_hz, &wav[24], sizeof rate_hz);  // little-endian, as nearly every machine is

  grpc::ChannelArguments options;
  // A peer that has died without a word is noticed, and no router between forgets a connection that is silent.
  options.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  options.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  Gateway::Stub gateway(grpc::CreateCustomChannel(arguments[1], grpc::InsecureChannelCredentials(), options));
  std::string reply;
  const grpc::Status status = PatientCall(gateway, wav.substr(kHeaderBytes), rate_hz, &reply);
  if (!status.ok()) {
    std::cerr << "status " << status.error_code() << ": " << status.error_message() << "\n";
    return 1;
  }
  // The reply comes in the recording's format, so the header serves again, with other lengths.
  const uint32_t bytes = reply.size(), rest = kHeaderBytes - 8 + bytes;
  std::memcpy(&wav[4], &rest, sizeof rest);
  std::memcpy(&wav[40], &bytes, sizeof bytes);
  std::ofstream(arguments[3], std::ios::binary) << wav.substr(0, kHeaderBytes) << reply;
}
