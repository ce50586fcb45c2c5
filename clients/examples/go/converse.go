// A call from Go: a recording is spoken in real time, Moshi's text and voice come back.
//
//	converse HOST:PORT RECORDING.wav REPLY.wav
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "moshi_cluster/v1"
)

const (
	packet      = 20 * time.Millisecond
	tries       = 5
	headerBytes = 44 // of a WAV file that holds samples and nothing else
)

// A peer that has died without a word is noticed, and no router between forgets a connection that is silent.
var keepAlive = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: converse HOST:PORT RECORDING.wav REPLY.wav")
	}
	target, recording, reply := os.Args[1], os.Args[2], os.Args[3]
	wav, err := os.ReadFile(recording)
	if err != nil {
		log.Fatal(err)
	}
	if len(wav) < headerBytes || string(wav[36:40]) != "data" || wav[22] != 1 || wav[34] != 16 {
		log.Fatalf("%s: must be a plain WAV file, mono, with samples of 16 bit", recording)
	}
	// With gRPC 1.63 or newer: grpc.NewClient and insecure.NewCredentials(). These work with every 1.x.
	connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithKeepaliveParams(keepAlive))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	header, voice := wav[:headerBytes], wav[headerBytes:]
	audio := patientCall(pb.NewGatewayClient(connection), voice, binary.LittleEndian.Uint32(header[24:]))
	// The reply comes in the recording's format, so the header serves again, with other lengths.
	binary.LittleEndian.PutUint32(header[4:], uint32(headerBytes-8+len(audio)))
	binary.LittleEndian.PutUint32(header[40:], uint32(len(audio)))
	if err := os.WriteFile(reply, append(header, audio...), 0o644); err != nil {
		log.Fatal(err)
	}
}

// patientCall calls again, after as long as the gateway asks for, when it says that this may help.
func patientCall(gateway pb.GatewayClient, voice []byte, rateHz uint32) []byte {
	for try := 1; ; try++ {
		reply, err := call(gateway, voice, rateHz)
		if err == nil {
			return reply
		}
		delay, again := retryDelay(err)
		if !again || try == tries {
			log.Fatal(err)
		}
		log.Printf("%v: trying again in %v", err, delay)
		time.Sleep(delay)
	}
}

// call is one call, from `start` to `ended`; it returns the reply's samples, in the format of the recording.
func call(gateway pb.GatewayClient, voice []byte, rateHz uint32) (reply []byte, err error) {
	// No call lasts for ever, whatever happens to the network; and what a call holds is freed when it has ended.
	length := time.Duration(len(voice)/2) * time.Second / time.Duration(rateHz)
	ctx, cancel := context.WithTimeout(context.Background(), length+30*time.Second)
	defer cancel()
	stream, err := gateway.Converse(ctx)
	if err != nil {
		return nil, err
	}
	recorded := &pb.AudioFormat{Encoding: pb.Encoding_ENCODING_PCM_S16LE, SampleRateHz: rateHz}
	start := &pb.ConverseRequest_Start{Start: &pb.Start{InputFormat: recorded}}
	if err := stream.Send(&pb.ConverseRequest{Message: start}); err != nil && err != io.EOF {
		return nil, err // io.EOF: the call is over, and Recv says why
	}
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return reply, nil
		} else if err != nil {
			return nil, err
		}
		switch message := message.Message.(type) {
		case *pb.ConverseResponse_Started:
			log.Printf("call %s", message.Started.SessionId)
			go speak(stream, voice, rateHz)
		case *pb.ConverseResponse_Text:
			fmt.Print(message.Text.Piece)
		case *pb.ConverseResponse_Audio:
			reply = append(reply, message.Audio.Data...)
		case *pb.ConverseResponse_Event: // silence filled in, frames dropped, the gateway about to stop, …
			log.Printf("[%v %d %s]", message.Event.Kind, message.Event.Frames, message.Event.Detail)
		case *pb.ConverseResponse_Ended:
			fmt.Println()
			log.Printf("ended after %d frames", message.Ended.Counters.FramesOut)
		}
	}
}

// speak sends the voice and hangs up; what is on its way is still answered.
func speak(stream pb.Gateway_ConverseClient, voice []byte, rateHz uint32) {
	begin, packetBytes := time.Now(), 2*int(rateHz)*int(packet/time.Millisecond)/1000
	for index := 0; len(voice) > 0; index++ {
		// Each packet has a time of its own: one that is late does not delay those behind it.
		time.Sleep(time.Until(begin.Add(time.Duration(index) * packet)))
		if packetBytes > len(voice) {
			packetBytes = len(voice)
		}
		audio := &pb.ConverseRequest_Audio{Audio: &pb.Audio{Data: voice[:packetBytes]}}
		if stream.Send(&pb.ConverseRequest{Message: audio}) != nil {
			return // the call is over, and Recv says why
		}
		voice = voice[packetBytes:]
	}
	stream.CloseSend()
}

// retryDelay is the gateway's google.rpc.RetryInfo; false where calling again is no help.
func retryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			delay := retry.RetryDelay
			return time.Duration(delay.Seconds)*time.Second + time.Duration(delay.Nanos), true
		}
	}
	return 0, false
}
