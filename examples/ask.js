// A training in JavaScript that asks a curvestop server on this machine after each epoch, with nothing of curvestop but its .proto file.
//
//     npm install @grpc/grpc-js @grpc/proto-loader
//     node ask.js PROTO_FOLDER HOST:PORT STUDY TRIAL VALUE...     with the token in CURVESTOP_TOKEN
//
// Exit status 3 if it is stopped, as that of `curvestop ask`.
'use strict';
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [folder, target, study, trial, ...values] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, defaults: true };
const { curvestop } = grpc.loadPackageDefinition(loader.loadSync(path.join(folder, 'early_stopping.proto'), options));
// On this machine; a server with TLS takes grpc.credentials.createSsl(fs.readFileSync('ca.pem')).
const client = new curvestop.v1.EarlyStopping(target, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set('authorization', `Bearer ${process.env.CURVESTOP_TOKEN}`);

const call = (method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 5000 }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

async function main() {
  for (let epoch = 1; epoch <= values.length; epoch++) {
    const report = { study, trial, first_epoch: epoch, values: [Number(values[epoch - 1])], ask: true };
    const { decision } = await call('Report', report);
    console.log(`epoch ${epoch}: ${decision.stop ? 'stop' : 'continue'}: ${decision.reason}`);
    if (decision.stop) {
      await call('FinishTrial', { study, trial, state: 'TRIAL_STATE_STOPPED' });
      process.exit(3);
    }
  }
  await call('FinishTrial', { study, trial, state: 'TRIAL_STATE_FINISHED' });
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});
