// Pub/Sub, through @google-cloud/pubsub.
// "Reference" is the Pub/Sub RPC reference (google.pubsub.v1); other pointers name pages of the Pub/Sub documentation.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { PubSub } from '@google-cloud/pubsub';
import {
  ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, eventually, refused, sleep, unique,
} from './support.mjs';

const pubsub = new PubSub();
after(() => pubsub.close());

const newTopic = async () => (await pubsub.createTopic(unique('topic')))[0];
const subscribe = async (topic, settings = {}) => (await topic.createSubscription(unique('subscription'), settings))[0];
const publish = (topic, text, more = {}) => topic.publishMessage({ data: Buffer.from(text), ...more });

/** Calls a method of the underlying plain client, at the same server. */
const call = (client, method, reqOpts) =>
  new Promise((resolve, reject) => {
    pubsub.request({ client, method, reqOpts }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

/** Pulls available messages; waits up to `timeoutMs` for the first one. */
async function pull(subscription, { maxMessages = 10, timeoutMs = 10_000 } = {}) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const request = { subscription: subscription.name, maxMessages, returnImmediately: true };
    const { receivedMessages } = await call('SubscriberClient', 'pull', request);
    if (receivedMessages.length > 0 || Date.now() >= end) return receivedMessages;
    await sleep(20);
  }
}

const modify = (subscription, received, ackDeadlineSeconds) =>
  call('SubscriberClient', 'modifyAckDeadline', {
    subscription: subscription.name, ackIds: [received.ackId], ackDeadlineSeconds,
  });

/** Opens a stream that records its messages; `handle` settles them. */
function open(subscription, handle, options = {}) {
  const stream = pubsub.subscription(subscription.name, options);
  const seen = [];
  stream.on('message', (message) => {
    seen.push(message);
    handle(message);
  });
  return { seen, close: () => stream.close() };
}

describe('Pub/Sub', { concurrency: true }, () => {
  test('a topic reads back, and is not created again', async () => {
    // Reference, Publisher.CreateTopic: ALREADY_EXISTS.
    const topic = await newTopic();
    const [found] = await topic.getMetadata();
    assert.equal(found.name, topic.name);
    await refused(pubsub.createTopic(topic.name), ALREADY_EXISTS);
  });

  test('a missing topic is not found', async () => {
    // Reference: GetTopic, DeleteTopic and Publish on a missing topic are NOT_FOUND.
    const missing = pubsub.topic(unique('missing'));
    assert.deepEqual(await missing.exists(), [false]);
    await refused(missing.getMetadata(), NOT_FOUND);
    await refused(missing.delete(), NOT_FOUND);
    await refused(publish(missing, 'x'), NOT_FOUND);
  });

  test('topics and subscriptions are listed page by page', async () => {
    // Reference, ListTopics and ListSubscriptions: pageSize at most, nextPageToken until the last page.
    const own = new PubSub({ projectId: unique('project') });
    for (const n of [1, 2, 3]) {
      const [topic] = await own.createTopic(`topic-${n}`);
      await topic.createSubscription(`sub-${n}`);
    }
    for (const list of ['getTopics', 'getSubscriptions']) {
      const [first, next] = await own[list]({ pageSize: 2, autoPaginate: false });
      const [second] = await own[list]({ ...next, autoPaginate: false });
      assert.deepEqual([first.length, second.length], [2, 1], list);
      assert.equal((await own[list]())[0].length, 3);
    }
    await own.close();
  });

  test('labels of a topic can be updated', async () => {
    // Reference, Publisher.UpdateTopic: the fields of the mask are changed.
    const topic = await newTopic();
    await topic.setMetadata({ labels: { stage: 'two' } });
    assert.deepEqual((await topic.getMetadata())[0].labels, { stage: 'two' });
  });

  test('a deleted topic is gone and its subscriptions show that', async () => {
    // Reference, Publisher.DeleteTopic: subscriptions stay, with topic `_deleted-topic_`.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    await topic.delete();
    assert.equal((await subscription.getMetadata())[0].topic, '_deleted-topic_');
    assert.deepEqual(await topic.exists(), [false]);
  });

  test('a subscription reads back its settings', async () => {
    // Reference, Subscription: every setting is returned unchanged.
    const [topic, dead] = [await newTopic(), await newTopic()];
    const subscription = await subscribe(topic, {
      ackDeadlineSeconds: 60,
      filter: 'attributes.kind = "gpu"',
      labels: { role: 'worker' },
      messageRetentionDuration: 3600,
      deadLetterPolicy: { deadLetterTopic: dead.name, maxDeliveryAttempts: 7 },
      retryPolicy: { minimumBackoff: { seconds: 1 }, maximumBackoff: { seconds: 20 } },
    });
    const [found] = await subscription.getMetadata();
    assert.deepEqual([found.ackDeadlineSeconds, found.filter], [60, 'attributes.kind = "gpu"']);
    assert.deepEqual(found.labels, { role: 'worker' });
    assert.equal(Number(found.messageRetentionDuration.seconds), 3600);
    assert.equal(found.deadLetterPolicy.deadLetterTopic, dead.name);
    assert.equal(found.deadLetterPolicy.maxDeliveryAttempts, 7);
    assert.equal(Number(found.retryPolicy.maximumBackoff.seconds), 20);
  });

  test('a subscription is created once, of an existing topic', async () => {
    // Reference, Subscriber.CreateSubscription: ALREADY_EXISTS, NOT_FOUND.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    await refused(topic.createSubscription(subscription.name), ALREADY_EXISTS);
    await refused(pubsub.topic(unique('missing')).createSubscription(unique('s')), NOT_FOUND);
  });

  test('an update changes only the named fields', async () => {
    // Reference, Subscriber.UpdateSubscription: only what update_mask names.
    const subscription = await subscribe(await newTopic(), { ackDeadlineSeconds: 20, labels: { keep: 'me' } });
    await subscription.setMetadata({ ackDeadlineSeconds: 30 });
    const [found] = await subscription.getMetadata();
    assert.deepEqual([found.ackDeadlineSeconds, found.labels], [30, { keep: 'me' }]);
  });

  test('settings and messages beyond the limits are invalid', async () => {
    // Reference, Subscription; Quotas, Resource limits: INVALID_ARGUMENT.
    const topic = await newTopic();
    await refused(subscribe(topic, { ackDeadlineSeconds: 5 }), INVALID_ARGUMENT);
    await refused(subscribe(topic, { filter: 'kind' }), INVALID_ARGUMENT);
    await refused(publish(topic, ''), INVALID_ARGUMENT);
    await refused(publish(topic, 'x', { attributes: { k: 'v'.repeat(1025) } }), INVALID_ARGUMENT);
    await refused(publish(topic, Buffer.alloc(10_000_001)), INVALID_ARGUMENT);
  });

  test('a published message arrives with its attributes and is not redelivered after its ack', async () => {
    // Reference, PubsubMessage: data and attributes as sent, id and publish time from the server.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    const before = Date.now();
    const id = await publish(topic, 'größe', { attributes: { kind: 'gpu', text: 'ü' } });
    const stream = open(subscription, (message) => message.ack());
    const [message] = await eventually(() => stream.seen.length && stream.seen);
    const attributes = { kind: 'gpu', text: 'ü' };
    assert.deepEqual([message.id, message.data.toString(), message.attributes], [id, 'größe', attributes]);
    assert.ok(Math.abs(message.publishTime.getTime() - before) < 10_000);
    await sleep(500);
    await stream.close();
    assert.equal(stream.seen.length, 1);
    assert.deepEqual(await pull(subscription, { timeoutMs: 300 }), []);
  });

  test('messages published together all arrive and have unique ids', async () => {
    // Publish messages, batching: one request, an id for each message.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    topic.setPublishOptions({ batching: { maxMessages: 100, maxMilliseconds: 50 } });
    const texts = Array.from({ length: 250 }, (_, n) => String(n));
    const ids = await Promise.all(texts.map((text) => publish(topic, text)));
    const stream = open(subscription, (message) => message.ack());
    await eventually(() => stream.seen.length >= 250);
    await stream.close();
    const sent = new Map(ids.map((id, n) => [id, texts[n]]));
    assert.equal(sent.size, 250);
    assert.deepEqual(new Map(stream.seen.map((m) => [m.id, m.data.toString()]).sort()), new Map([...sent].sort()));
  });

  test('an ordering key is delivered', async () => {
    // Order messages: the key is delivered also by subscriptions without ordering.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    topic.setPublishOptions({ messageOrdering: true });
    await publish(topic, 'x', { orderingKey: 'batch-1' });
    assert.equal((await pull(subscription))[0].message.orderingKey, 'batch-1');
  });

  test('every subscription gets its own copy', async () => {
    // What is Pub/Sub, fan out.
    const topic = await newTopic();
    const subscriptions = [await subscribe(topic), await subscribe(topic)];
    const id = await publish(topic, 'x');
    for (const subscription of subscriptions) {
      const [received] = await pull(subscription);
      await call('SubscriberClient', 'acknowledge', { subscription: subscription.name, ackIds: [received.ackId] });
      assert.equal(received.message.messageId, id);
    }
  });

  test('a leased message is delivered to no one else until it is nacked', async () => {
    // Reference, ModifyAckDeadlineRequest: zero makes the message available immediately; otherwise the lease remains.
    const topic = await newTopic();
    const subscription = await subscribe(topic, { ackDeadlineSeconds: 600 });
    await publish(topic, 'x');
    const [first] = await pull(subscription);
    assert.deepEqual(await pull(subscription, { timeoutMs: 500 }), []);
    await modify(subscription, first, 0);
    const [again] = await pull(subscription);
    assert.equal(again.message.messageId, first.message.messageId);
  });

  test('an unsettled message returns after the subscription\'s deadline', async () => {
    // Lease management: 10 s, the shortest deadline.
    const topic = await newTopic();
    const subscription = await subscribe(topic, { ackDeadlineSeconds: 10 });
    await publish(topic, 'x');
    // Measured before the lease starts, which ends 10 s later, however late its answer is read.
    const started = Date.now();
    await pull(subscription);
    assert.equal((await pull(subscription, { timeoutMs: 20_000 })).length, 1);
    assert.ok(Date.now() - started > 9_500);
  });

  test('a held message stays leased past its deadline', async () => {
    // Lease management: the client extends leases and the server honours it.
    const topic = await newTopic();
    const subscription = await subscribe(topic, { ackDeadlineSeconds: 10 });
    await publish(topic, 'x');
    const stream = open(subscription, () => {});
    await eventually(() => stream.seen.length);
    assert.deepEqual(await pull(subscription, { timeoutMs: 13_000 }), []);
    assert.equal(stream.seen.length, 1);
    stream.seen[0].ack();
    await stream.close();
  });

  test('a stream holds no more than its flow control allows', async () => {
    // Flow control: at most max_outstanding_messages unsettled messages on the stream; others get the rest.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    await Promise.all(['1', '2', '3'].map((text) => publish(topic, text)));
    const stream = open(subscription, () => {}, { flowControl: { maxMessages: 1, allowExcessMessages: false } });
    await eventually(() => stream.seen.length);
    await sleep(500);
    assert.equal(stream.seen.length, 1);
    assert.equal((await pull(subscription)).length, 2);
    stream.seen[0].ack();
    await stream.close();
  });

  test('two streams share the work', async () => {
    // Subscriber overview, load balancing: each message goes to one subscriber of a subscription.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    const work = async (message) => {
      await sleep(10);
      message.ack();
    };
    const options = { flowControl: { maxMessages: 2, allowExcessMessages: false } };
    const streams = [open(subscription, work, options), open(subscription, work, options)];
    await sleep(500);
    const ids = await Promise.all(Array.from({ length: 60 }, (_, n) => publish(topic, String(n))));
    const seen = () => streams.flatMap((one) => one.seen.map((message) => message.id));
    await eventually(() => seen().length >= 60);
    await Promise.all(streams.map((stream) => stream.close()));
    assert.deepEqual(seen().sort(), ids.sort());
    assert.ok(streams.every((one) => one.seen.length > 0));
  });

  test('a nacked message is redelivered, without an attempt count if there is no dead letter policy', async () => {
    // Reference, ReceivedMessage.delivery_attempt: not set without a policy.
    const topic = await newTopic();
    const subscription = await subscribe(topic, { ackDeadlineSeconds: 600 });
    await publish(topic, 'x');
    let nacked = false;
    const stream = open(subscription, (message) => {
      if (nacked) message.ack();
      else message.nack();
      nacked = true;
    });
    await eventually(() => stream.seen.length === 2);
    await stream.close();
    assert.deepEqual(stream.seen.map((message) => message.deliveryAttempt), [0, 0]);
  });

  test('a dead letter is forwarded after the last attempt', async () => {
    // Dead-letter topics: attempts 1 to 5, then forwarded with the CloudPubSubDeadLetterSource attributes.
    const [topic, dead] = [await newTopic(), await newTopic()];
    const letters = await subscribe(dead);
    const policy = { deadLetterTopic: dead.name, maxDeliveryAttempts: 5 };
    const subscription = await subscribe(topic, { deadLetterPolicy: policy });
    await publish(topic, 'poison', { attributes: { kind: 'gpu' } });
    const stream = open(subscription, (message) => message.nack());
    const [letter] = await pull(letters, { timeoutMs: 20_000 });
    await stream.close();
    assert.deepEqual(stream.seen.map((message) => message.deliveryAttempt), [1, 2, 3, 4, 5]);
    const { CloudPubSubDeadLetterSourceTopicPublishTime: published, ...attributes } = letter.message.attributes;
    assert.ok(!Number.isNaN(Date.parse(published)));
    assert.deepEqual(attributes, {
      kind: 'gpu',
      CloudPubSubDeadLetterSourceDeliveryCount: '5',
      CloudPubSubDeadLetterSourceSubscription: subscription.name.split('/').pop(),
      CloudPubSubDeadLetterSourceSubscriptionProject: pubsub.projectId,
    });
  });

  test('a nacked message waits for its backoff', async () => {
    // Retry policy: not before the minimum backoff.
    const topic = await newTopic();
    const retryPolicy = { minimumBackoff: { seconds: 2 }, maximumBackoff: { seconds: 10 } };
    const subscription = await subscribe(topic, { retryPolicy });
    await publish(topic, 'x');
    const [received] = await pull(subscription);
    const nacked = Date.now();
    await modify(subscription, received, 0);
    assert.equal((await pull(subscription, { timeoutMs: 15_000 })).length, 1);
    assert.ok(Date.now() - nacked > 1_900, `after ${Date.now() - nacked} ms`);
  });

  test('a filter passes matching messages', async () => {
    // Filter messages, Syntax.
    const topic = await newTopic();
    const wanted = {
      'attributes.kind = "gpu"': ['gpu'],
      'attributes.kind != "gpu"': ['cpu', 'none'],
      'hasPrefix(attributes.kind, "c") OR NOT attributes:kind': ['cpu', 'none'],
      'attributes:kind AND NOT (attributes.kind = "cpu")': ['gpu'],
    };
    const subscriptions = new Map();
    for (const filter of Object.keys(wanted)) subscriptions.set(filter, await subscribe(topic, { filter }));
    await publish(topic, 'gpu', { attributes: { kind: 'gpu' } });
    await publish(topic, 'cpu', { attributes: { kind: 'cpu' } });
    await publish(topic, 'none');
    for (const [filter, subscription] of subscriptions) {
      const texts = (await pull(subscription)).map(({ message }) => message.data.toString()).sort();
      assert.deepEqual(texts, wanted[filter], filter);
    }
  });

  test('a stream of a missing subscription ends with not found', async () => {
    // Reference, StreamingPull: NOT_FOUND is final for the client.
    const stream = pubsub.subscription(unique('missing'));
    const error = await new Promise((resolve) => stream.on('error', resolve).on('message', () => {}));
    assert.equal(error.code, NOT_FOUND);
    await stream.close();
  });

  test('an ack is confirmed immediately with at-least-once delivery', async () => {
    // Exactly-once delivery: without it the client reports success for every acknowledgement it sent.
    const topic = await newTopic();
    const subscription = await subscribe(topic);
    await publish(topic, 'x');
    const answers = [];
    const stream = open(subscription, (message) => answers.push(message.ackWithResponse()));
    await eventually(() => answers.length);
    assert.equal(await answers[0], 'SUCCESS');
    await stream.close();
  });

  test('unsupported methods are refused by name', async () => {
    // gRPC status codes: UNIMPLEMENTED for methods that the server does not support; our error names the method.
    const subscription = await subscribe(await newTopic());
    await refused(subscription.createSnapshot(unique('snapshot')), UNIMPLEMENTED, /CreateSnapshot/);
    await refused(subscription.seek(new Date()), UNIMPLEMENTED, /Seek/);
    const exactly = { enableExactlyOnceDelivery: true };
    await refused(subscribe(await newTopic(), exactly), UNIMPLEMENTED, /enable_exactly_once_delivery/);
  });
});
