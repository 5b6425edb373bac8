// Makes faces of seeds and writes them as PNG files:
//
//	go run . 127.0.0.1:50051 7 18446744073709551615
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	commonv1 "faceloom/common/v1"
	generatorv1 "faceloom/generator/v1"

	"google.golang.org/grpc"
)

func main() {
	psi := float32(0.7)
	request := &generatorv1.GenerateRequest{
		TruncationPsi: &psi,
		OutputFormat:  commonv1.ImageFormat_IMAGE_FORMAT_PNG,
	}
	for _, text := range os.Args[2:] {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		request.Seeds = append(request.Seeds, seed)
	}

	// From grpc-go 1.63 on, grpc.NewClient and insecure.NewCredentials do the same.
	connection, err := grpc.Dial(
		os.Args[1],
		grpc.WithInsecure(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)), // 4 MiB by default
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	response, err := generatorv1.NewGeneratorServiceClient(connection).Generate(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	for _, face := range response.Faces {
		name := fmt.Sprintf("seed%d.png", face.Seed)
		if err := os.WriteFile(name, face.Image.Data, 0o644); err != nil {
			log.Fatal(err)
		}
		fmt.Println(face.Seed, len(face.Image.Data))
	}
}
