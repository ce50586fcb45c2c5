import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import moshicluster.v1.Audio;
import moshicluster.v1.AudioFormat;
import moshicluster.v1.ConverseRequest;
import moshicluster.v1.ConverseResponse;
import moshicluster.v1.Encoding;
import moshicluster.v1.GatewayGrpc;
import moshicluster.v1.Start;

/**
 * A call from Java: a recording is spoken in real time, Moshi's text and voice come back.
 *
 * <pre>java Converse HOST:PORT RECORDING.wav REPLY.wav</pre>
 */
public class Converse {
    static final int PACKET_MS = 20;
    static final int TRIES = 5;
    static final int HEADER_BYTES = 44; // of a WAV file that holds samples and nothing else

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 3) {
            throw new IllegalArgumentException("usage: Converse HOST:PORT RECORDING.wav REPLY.wav");
        }
        byte[] wav = Files.readAllBytes(Path.of(arguments[1]));
        ByteBuffer header = ByteBuffer.wrap(wav).order(ByteOrder.LITTLE_ENDIAN);
        if (wav.length < HEADER_BYTES || header.getInt(36) != 0x61746164 /* data */ || wav[22] != 1 || wav[34] != 16) {
            throw new IllegalArgumentException(arguments[1] + ": must be a plain WAV file, mono, samples of 16 bit");
        }
        ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext()
                // A peer that has died without a word is noticed, and no router between forgets a silent connection.
                .keepAliveTime(20, TimeUnit.SECONDS).keepAliveTimeout(10, TimeUnit.SECONDS).build();
        ByteString voice = ByteString.copyFrom(wav, HEADER_BYTES, wav.length - HEADER_BYTES);
        byte[] audio;
        try {
            audio = patientCall(GatewayGrpc.newStub(channel), voice, header.getInt(24));
        } finally {
            channel.shutdownNow();
        }
        // The reply comes in the recording's format, so the header serves again, with other lengths.
        header.putInt(4, HEADER_BYTES - 8 + audio.length).putInt(40, audio.length);
        try (var file = Files.newOutputStream(Path.of(arguments[2]))) {
            file.write(wav, 0, HEADER_BYTES);
            file.write(audio);
        }
    }

    /** Calls again, after as long as the gateway asks for, when it says that this may help. */
    static byte[] patientCall(GatewayGrpc.GatewayStub gateway, ByteString voice, int rateHz) throws Exception {
        for (int tried = 1; ; tried++) {
            try {
                return call(gateway, voice, rateHz);
            } catch (ExecutionException failure) {
                OptionalLong delayMs = retryDelayMs(failure.getCause());
                if (delayMs.isEmpty() || tried == TRIES) {
                    throw failure;
                }
                System.err.println(failure.getCause().getMessage() + ": trying again in " + delayMs.getAsLong() + " ms");
                Thread.sleep(delayMs.getAsLong());
            }
        }
    }

    /** One call, from `start` to `ended`; the reply's samples, in the format of the recording. */
    static byte[] call(GatewayGrpc.GatewayStub gateway, ByteString voice, int rateHz) throws Exception {
        var started = new CompletableFuture<Void>();
        var ended = new CompletableFuture<Void>();
        var reply = new ByteArrayOutputStream();
        // No call lasts for ever, whatever happens to the network.
        var stub = gateway.withDeadlineAfter(30 + voice.size() / 2 / rateHz, TimeUnit.SECONDS);
        StreamObserver<ConverseRequest> requests = stub.converse(new StreamObserver<>() {
            @Override
            public void onNext(ConverseResponse message) {
                switch (message.getMessageCase()) {
                    case STARTED -> {
                        System.err.println("call " + message.getStarted().getSessionId());
                        started.complete(null);
                    }
                    case TEXT -> System.out.print(message.getText().getPiece());
                    case AUDIO -> reply.writeBytes(message.getAudio().getData().toByteArray());
                    case EVENT -> { // silence filled in, frames dropped, the gateway about to stop, …
                        var event = message.getEvent();
                        System.err.printf("[%s %d %s]%n", event.getKind(), event.getFrames(), event.getDetail());
                    }
                    case ENDED ->
                        System.err.printf("%nended after %d frames%n", message.getEnded().getCounters().getFramesOut());
                    default -> { } // of a newer gateway
                }
            }

            @Override
            public void onError(Throwable error) {
                started.completeExceptionally(error);
                ended.completeExceptionally(error);
            }

            @Override
            public void onCompleted() {
                ended.complete(null);
            }
        });
        var recorded = AudioFormat.newBuilder().setEncoding(Encoding.ENCODING_PCM_S16LE).setSampleRateHz(rateHz);
        requests.onNext(ConverseRequest.newBuilder().setStart(Start.newBuilder().setInputFormat(recorded)).build());
        started.get();
        speak(requests, voice, rateHz, ended);
        ended.get();
        return reply.toByteArray();
    }

    /** Sends the voice and hangs up; what is on its way is still answered. */
    static void speak(StreamObserver<ConverseRequest> requests, ByteString voice, int rateHz, CompletableFuture<?> ended)
            throws InterruptedException {
        long begin = System.nanoTime();
        int packetBytes = 2 * (rateHz * PACKET_MS / 1000);
        for (int index = 0; index * packetBytes < voice.size() && !ended.isDone(); index++) {
            // Each packet has a time of its own: one that is late does not delay those behind it.
            TimeUnit.NANOSECONDS.sleep(begin + index * PACKET_MS * 1_000_000L - System.nanoTime());
            var packet = voice.substring(index * packetBytes, Math.min(voice.size(), (index + 1) * packetBytes));
            requests.onNext(ConverseRequest.newBuilder().setAudio(Audio.newBuilder().setData(packet)).build());
        }
        requests.onCompleted();
    }

    /** The gateway's google.rpc.RetryInfo; empty where calling again is no help. */
    static OptionalLong retryDelayMs(Throwable error) throws InvalidProtocolBufferException {
        Status status = StatusProto.fromThrowable(error);
        for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
            if (detail.is(RetryInfo.class)) {
                var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                return OptionalLong.of(delay.getSeconds() * 1000 + delay.getNanos() / 1_000_000);
            }
        }
        return OptionalLong.empty();
    }
}
