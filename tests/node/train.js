// A training client that knows the service from its .proto file alone: trains until it is told to stop, then watches the health.
//
//     node train.js PROTO_FOLDER HOST:PORT CA.PEM     with the token in CURVESTOP_TOKEN
//
// Prints one JSON object a line. After "serving" it waits for a line of input, then asks for the health until it changes.
'use strict';
const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [folder, target, ca] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const load = (file) => grpc.loadPackageDefinition(loader.loadSync(file, options));
const { curvestop } = load(path.join(folder, 'early_stopping.proto'));
const { health } = load(path.join(__dirname, 'health.proto')).grpc;

const token = grpc.credentials.createFromMetadataGenerator((_, done) => {
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${process.env.CURVESTOP_TOKEN}`);
  done(null, metadata);
});
const tls = grpc.credentials.createSsl(fs.readFileSync(ca));
const stopping = new curvestop.v1.EarlyStopping(target, grpc.credentials.combineChannelCredentials(tls, token));
const probe = new health.v1.Health(target, tls);

const call = (client, method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + 20000 }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
const print = (what) => console.log(JSON.stringify(what));
const healthNow = async () => (await call(probe, 'Check', { service: 'curvestop.v1.EarlyStopping' })).status;
const curve = (final, epochs) => Array.from({ length: epochs }, (_, i) => final * (1 - 0.5 ** (i + 1)));

async function main() {
  const study = 'from-node';
  await call(stopping, 'CreateStudy', {
    settings: {
      name: study,
      max_epochs: 10,
      metric: 'accuracy',
      direction: 'DIRECTION_MAXIMISE',
      rule: { threshold: 0.95, tolerance: 0, rank: 1, min_curves: 6 },
      predictor: { name: 'last-seen', settings: {} },
      refit_growth: 1.1,
      policy: { name: 'threshold' },
    },
  });
  for (let number = 0; number < 6; number++) {
    const configuration = { values: { lr: { number: 0.1 / (number + 1) }, layers: { integer: number } } };
    const values = curve(0.8 + number / 100, 10);
    await call(stopping, 'Report', { study, trial: `good-${number}`, first_epoch: 1, values, configuration });
  }
  for (;;) {
    const { models } = await call(stopping, 'GetStudy', { study });
    if (models.length && models.every((model) => model.n_fitted > 0)) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const hopeless = curve(0.2, 10);
  for (let epoch = 1; epoch <= 10; epoch++) {
    const values = [hopeless[epoch - 1]];
    const { decision } = await call(stopping, 'Report', { study, trial: 'bad', first_epoch: epoch, values, ask: true });
    if (decision.stop) {
      print({ stopped_at: epoch, probability: decision.probability, reason: decision.reason });
      break;
    }
  }
  print({ ended: (await call(stopping, 'FinishTrial', { study, trial: 'bad', state: 'TRIAL_STATE_STOPPED' })).state });
  print({ health: await healthNow() });
  await new Promise((resolve) => process.stdin.once('data', resolve));
  let status = 'SERVING';
  while (status === 'SERVING') status = await healthNow();
  print({ health: status });
  process.exit(0);
}

main().catch((error) => {
  print({ error: String(error), code: error.code });
  process.exit(1);
});
