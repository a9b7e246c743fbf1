// An address that is no page.

import { Empty, PageTitle } from "../parts/frame";

export function LostPage() {
  return (
    <>
      <PageTitle title="No such page" />
      <Empty>
        <p>There is nothing at this address.</p>
        <p><a href="/">Go to the overview</a>, or to an item by the field above.</p>
      </Empty>
    </>
  );
}
