// Makes faces of seeds and writes them as PNG files:
//   node client.js 127.0.0.1:50051 7 18446744073709551615

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [target, ...seeds] = process.argv.slice(2);
const definition = protoLoader.loadSync("faceloom/generator/v1/generator.proto", {
  includeDirs: [path.join(__dirname, "../../../protos")],
  keepCase: true,
  enums: String,
  longs: String, // a seed has up to 64 bits, a number of JavaScript holds 53
});
const { GeneratorService } = grpc.loadPackageDefinition(definition).faceloom.generator.v1;

const client = new GeneratorService(target, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": 16 * 1024 * 1024, // 4 MiB by default
});
const request = { seeds, truncation_psi: 0.7, output_format: "IMAGE_FORMAT_PNG" };

client.Generate(request, { deadline: Date.now() + 60_000 }, (error, response) => {
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exit(1);
  }
  for (const face of response.faces) {
    fs.writeFileSync(`seed${face.seed}.png`, face.image.data);
    console.log(face.seed, face.image.data.length);
  }
  client.close();
});
